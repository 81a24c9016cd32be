//! The page about the pool.

use xenolith_settings::Pool;

use crate::app::App;
use crate::field::Field;
use crate::form::{Form, POOL_JOINS, POOL_WAYS};
use crate::page::{Item, text};

const WAITS: &str = "Joining is not available yet: this version has no toolstack. The host keeps what is said here, reports that it has not \
                     joined, and tries again at every boot.";
const PASSWORD: &str = "Until then the password lies in the host's state, in a file that only root can read. Left empty, it is asked for when \
                        the host joins.";

pub(crate) fn items(app: &App) -> Vec<Item> {
    let form = &app.form;
    let mut items =
        vec![Item::Choice { field: Field::Pool, label: "This host", value: POOL_WAYS[form.pool].to_owned() }];
    if form.pool == POOL_JOINS {
        items.extend([
            text(app, Field::PoolAddress, "A host of it"),
            text(app, Field::PoolUser, "User"),
            text(app, Field::PoolPassword, "Password"),
            text(app, Field::PoolFingerprint, "Fingerprint"),
            Item::Words("    SHA-256 of that host's certificate. Empty: the host asks about it.".to_owned()),
            Item::Words(String::new()),
            Item::Words(WAITS.to_owned()),
            Item::Words(PASSWORD.to_owned()),
        ]);
    }
    items
}

/// For the summary.
pub(crate) fn in_words(form: &Form) -> String {
    if form.pool != POOL_JOINS {
        return "none, the host stands alone".to_owned();
    }
    let user = Some(form.pool_user.trim()).filter(|user| !user.is_empty()).unwrap_or(Pool::USER);
    format!("{} as {user}; joining is not available yet", form.pool_address.trim())
}
