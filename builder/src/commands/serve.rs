//! `xenolith serve`: the network boot set for a rack.
//!
//! Everything is read and checked, and the table of who gets what is known, before a port is opened. Then a line for each thing that
//! happens goes to stdout, as JSON if that is asked for; the first one names the boot file's URL.

use std::{path::PathBuf, sync::Arc};

use serde_json::json;
use xenolith_serve::{Config, Event, Prepared, ServeError, Tell, TlsConfig, prepare};

use crate::{
    cli::{Global, ServeArgs},
    exit::{Class, Classify as _, Failure},
    project::Project,
};

/// Runs the command.
///
/// # Errors
/// [`Class::Input`] for a set or answers that would not do; [`Class::Host`] when a port cannot be had.
pub fn run(global: &Global, args: &ServeArgs) -> Result<(), Failure> {
    let config = config(global, args)?;
    let prepared = prepare(&config).map_err(failure)?;
    let table = prepared.table();
    if args.dry_run {
        let text = if global.json {
            serde_json::to_string_pretty(&table).class(Class::Bug, "cannot print JSON")?
        } else {
            table.to_string()
        };
        super::say(&text);
        return Ok(());
    }
    if !global.json {
        eprintln!("{table}");
    }
    // What waits for the network, not for the processor: more threads would bring nothing.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .class(Class::Host, "cannot start the server's threads")?;
    let ended = runtime.block_on(serve(prepared, global.json));
    // A read of a disk that hangs must not hold up the end.
    runtime.shutdown_background();
    ended
}

async fn serve(prepared: Prepared, as_json: bool) -> Result<(), Failure> {
    let server = prepared.bind(teller(as_json)).await.map_err(failure)?;
    let (interrupt, terminate) = (tokio::signal::ctrl_c(), terminated()?);
    if as_json {
        let answers = server.answers();
        super::say(&json!({ "event": "serving", "boot_file": server.url(), "answers": answers }).to_string());
    } else {
        eprintln!("serving {}; Ctrl-C ends it", server.url());
    }
    server
        .run(async {
            tokio::select! {
                _ = interrupt => {}
                () = terminate => {}
            }
        })
        .await;
    if !as_json {
        eprintln!("ended; transfers that were under way were broken off");
    }
    Ok(())
}

/// Ends when somebody asks the program to end.
fn terminated() -> Result<impl Future<Output = ()>, Failure> {
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .class(Class::Host, "cannot listen for the signal to end")?;
    Ok(async move {
        signal.recv().await;
    })
}

fn teller(as_json: bool) -> Tell {
    Arc::new(move |event: Event| {
        let line = if as_json { serde_json::to_string(&event) } else { Ok(event.to_string()) };
        super::say(&line.expect("an event is made of what JSON can hold"));
    })
}

fn config(global: &Global, args: &ServeArgs) -> Result<Config, Failure> {
    let set: PathBuf = match &args.set {
        Some(set) => set.clone(),
        None => Project::find(global)?.output(None).join("netboot"),
    };
    let tls = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => {
            Some(TlsConfig { listen: args.listen_tls, certificate: cert.clone(), key: key.clone() })
        }
        _ => None,
    };
    Ok(Config { set, listen: args.listen, tls, pxe: args.pxe.clone(), answers: args.answers.clone() })
}

fn failure(error: ServeError) -> Failure {
    let class = if error.is_hosts() { Class::Host } else { Class::Input };
    let hint = error.hint();
    let failure = Failure::new(class, "nothing is served").because(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
