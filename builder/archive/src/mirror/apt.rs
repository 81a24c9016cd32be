//! The sources of the host's apt, in both of their forms (sources.list(5)).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use url::Url;

use super::{MirrorError, Mirrors, Origin, beside, last_part, parse, read};

/// The mirrors that the files below `folder` name.
pub(super) fn find(folder: &Path) -> Result<Option<Mirrors>, MirrorError> {
    let (mut debian, mut security) = (None, None);
    for path in files(folder)? {
        let Some(text) = read(&path)? else { continue };
        let one_line = path.extension() == Some(OsStr::new("list"));
        let named = if one_line { one_line_uris(&text) } else { deb822_uris(&text) };
        let origin = Origin::AptSources(path);
        // apt knows more kinds of source (cdrom:, mirror+file:, tor+https:) than we can fetch from.
        for url in named.into_iter().filter_map(|uri| parse(uri, &origin).ok()) {
            match last_part(&url) {
                "debian" if debian.is_none() => debian = Some((url, origin.clone())),
                "debian-security" if security.is_none() => security = Some(url),
                _ => {}
            }
        }
    }
    let Some((debian, origin)) = debian else { return Ok(None) };
    let beside = |debian: &Url| beside(debian).expect("its path ends in debian, that is why it was taken");
    let security = security.unwrap_or_else(|| beside(&debian));
    Ok(Some(Mirrors { debian, security, origin }))
}

/// The files that apt reads, in its order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, MirrorError> {
    let mut files = vec![folder.join("sources.list")];
    let parts = folder.join("sources.list.d");
    let failed = |source| MirrorError::Read { path: parts.clone(), source };
    let entries = match fs_err::read_dir(&parts) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(source) => return Err(failed(source)),
    };
    let mut named = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "list" || ending == "sources") {
            named.push(path);
        }
    }
    named.sort();
    files.extend(named);
    Ok(files)
}

/// `deb [signed-by=…] URI suite component…`
fn one_line_uris(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let binary =
        lines.filter_map(|line| line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])));
    binary
        .filter_map(|rest| {
            let rest = rest.trim_start();
            let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
            rest.split_ascii_whitespace().next()
        })
        .collect()
}

/// Stanzas with `Types`, `URIs` and `Enabled`; comments may stand between the lines of a stanza.
fn deb822_uris(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).peekable();
    while lines.peek().is_some() {
        let stanza: Vec<_> = lines.by_ref().take_while(|line| !line.trim().is_empty()).collect();
        let words = |field: &str| values(&stanza, field);
        let off = ["no", "false", "off", "without", "disable", "0"];
        let disabled =
            words("Enabled").first().is_some_and(|word| off.contains(&word.to_ascii_lowercase().as_str()));
        if words("Types").contains(&"deb") && !disabled {
            found.extend(words("URIs"));
        }
    }
    found
}

/// The words of a field with its continuation lines; names of fields do not care about case.
fn values<'t>(stanza: &[&'t str], field: &str) -> Vec<&'t str> {
    let mut inside = false;
    let mut words = Vec::new();
    for line in stanza {
        let mut value = *line;
        if !line.starts_with([' ', '\t']) {
            let (name, rest) = line.split_once(':').unwrap_or((line, ""));
            (inside, value) = (name.trim().eq_ignore_ascii_case(field), rest);
        }
        if inside {
            words.extend(value.split_ascii_whitespace());
        }
    }
    words
}
