//! The pool that a host belongs to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pool that the host joins. **Not carried out yet**: this version has no toolstack; first boot says so and tries again at each boot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Name or address of a host of that pool. Who vouches for this host is asked when it joins: a seed holds no password.
    pub join: String,
}
