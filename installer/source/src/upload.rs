//! Sends files to a server: what was seen during an installation that failed.

use std::time::Duration;

use crate::{
    fetch::{Asking, FetchError, Method, Patience, Server, again},
    hint::Url,
};

/// A file that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload<'a> {
    /// Its name: what a URL can hold as it is.
    pub name: &'a str,
    /// What is in it: text in UTF-8.
    pub text: &'a str,
}

/// Sends files: by PUT, each below the server's address, if that ends in `/`; else all of them as one text, by POST, or by PUT where
/// the server knows no POST.
///
/// # Errors
/// [`FetchError`] of the first file that did not arrive.
pub fn upload(
    server: &Server,
    files: &[Upload<'_>],
    patience: Patience,
    pause: &mut dyn FnMut(Duration),
) -> Result<(), FetchError> {
    if !server.url.as_str().ends_with('/') {
        let text: String = files.iter().map(|file| format!("==== {}\n{}\n", file.name, file.text)).collect();
        let asking = Asking::new(server, patience.attempt)?;
        return again(patience, pause, || match asking.text(Method::Post, &text) {
            Err(FetchError::Status { code: 405 | 501, .. }) => asking.text(Method::Put, &text),
            other => other,
        })
        .map(drop);
    }
    for file in files {
        let server = Server { url: below(&server.url, file.name), trust: server.trust.clone() };
        let asking = Asking::new(&server, patience.attempt)?;
        again(patience, pause, || asking.text(Method::Put, file.text))?;
    }
    Ok(())
}

fn below(url: &Url, name: &str) -> Url {
    Url::parse(&format!("{}{name}", url.as_str())).expect("names of our own files make an address no worse")
}
