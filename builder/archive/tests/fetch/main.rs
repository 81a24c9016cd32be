//! Fetching from a server that truncates, stalls, forgets ranges, lies and recovers.

#![allow(clippy::unwrap_used)]

mod server;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use xenolith_archive::fetch::{
    Cause, DownloadOptions, Downloader, Event, FetchError, Item, Mismatch, Progress, Summary,
};

use server::{Act, Server, cut, ranged, status, whole};

/// Long enough for several reads, and no two pieces of it alike.
fn content(seed: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in 0u32..12_500 {
        bytes.extend_from_slice(&Sha256::digest([seed.to_le_bytes(), block.to_le_bytes()].concat()));
    }
    bytes
}

fn options() -> DownloadOptions {
    DownloadOptions {
        parallel: 4,
        retries: 3,
        offline: false,
        certificates: None,
        // So long that a busy machine is never taken for a silent server.
        stall: Duration::from_secs(60),
        first_wait: Duration::from_millis(2),
        longest_wait: Duration::from_millis(10),
    }
}

fn item(server: &Server, folder: &Path, name: &str, content: &[u8]) -> Item {
    Item {
        url: server.url(name),
        name: name.to_owned(),
        size: u64::try_from(content.len()).unwrap(),
        sha256: Sha256::digest(content).into(),
        dest: folder.join("pool").join(name),
    }
}

fn fetch(items: &[Item]) -> Result<Summary, FetchError> {
    Downloader::new(options()).fetch_all(items, &|_| {})
}

/// Fetches one file from a server that behaves like `answer`; returns what happened and what was asked for.
fn fetch_one(
    content: &[u8],
    left_before: &[u8],
    answer: impl Fn(&server::Request, &[u8]) -> Vec<Act> + Send + Sync + 'static,
) -> (Result<Summary, FetchError>, Vec<Option<usize>>) {
    fetch_one_with(options(), content, left_before, answer)
}

fn fetch_one_with(
    options: DownloadOptions,
    content: &[u8],
    left_before: &[u8],
    answer: impl Fn(&server::Request, &[u8]) -> Vec<Act> + Send + Sync + 'static,
) -> (Result<Summary, FetchError>, Vec<Option<usize>>) {
    let folder = tempfile::tempdir().unwrap();
    let served = content.to_vec();
    let server = Server::new(move |request| answer(request, &served));
    let item = item(&server, folder.path(), "file", content);
    let part = item.dest.with_file_name("file.part");
    if !left_before.is_empty() {
        fs_err::create_dir_all(part.parent().unwrap()).unwrap();
        fs_err::write(&part, left_before).unwrap();
    }
    let result = Downloader::new(options).fetch_all(std::slice::from_ref(&item), &|_| {});
    match &result {
        Ok(_) => {
            assert_eq!(fs_err::read(&item.dest).unwrap(), content);
            assert!(!part.exists(), "the part has become the file");
        }
        Err(_) => assert!(!item.dest.exists(), "nothing unproven may be in its place"),
    }
    (result, server.requests().into_iter().map(|(_, from)| from).collect())
}

#[test]
fn files_come_in_parallel_and_are_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|request| whole(&content(request.path.parse().unwrap())));
    let items: Vec<Item> =
        (0..9).map(|seed| item(&server, folder.path(), &seed.to_string(), &content(seed))).collect();
    let summary = fetch(&items).unwrap();
    assert_eq!((summary.fetched, summary.present, summary.bytes), (9, 0, 9 * 400_000));
    for (seed, item) in (0..).zip(&items) {
        assert_eq!(fs_err::read(&item.dest).unwrap(), content(seed));
    }
    let again = fetch(&items).unwrap();
    assert_eq!(again, Summary { present: 9, ..Summary::default() });
    assert_eq!(server.requests().len(), 9);
}

#[test]
fn a_connection_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|request| whole(&content(request.path.parse().unwrap())));
    let items: Vec<Item> =
        (0..5).map(|seed| item(&server, folder.path(), &seed.to_string(), &content(seed))).collect();
    let one = Downloader::new(DownloadOptions { parallel: 1, ..options() });
    let last = Mutex::new((0, 0));
    one.fetch_all(&items, &|progress| *last.lock().unwrap() = (progress.done, progress.total)).unwrap();
    assert_eq!(last.into_inner().unwrap(), (2_000_000, 2_000_000));
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_damaged_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_| whole(&content(1)));
    let item = item(&server, folder.path(), "file", &content(1));
    fs_err::create_dir_all(item.dest.parent().unwrap()).unwrap();
    for damaged in [b"short".to_vec(), vec![0; 400_000]] {
        fs_err::write(&item.dest, damaged).unwrap();
        fetch(std::slice::from_ref(&item)).unwrap();
        assert_eq!(fs_err::read(&item.dest).unwrap(), content(1));
    }
}

#[test]
fn what_an_earlier_run_left_is_gone_on_with() {
    let whole = content(1);
    let (result, asked) = fetch_one(&whole, &whole[..150_000], ranged);
    assert_eq!(asked, [Some(150_000)]);
    let summary = result.unwrap();
    assert_eq!((summary.resumed, summary.bytes, summary.failures), (150_000, 250_000, 0));
}

#[test]
fn a_part_that_is_whole_needs_no_request() {
    let whole = content(1);
    let (result, asked) = fetch_one(&whole, &whole, ranged);
    assert_eq!((result.unwrap().bytes, asked.len()), (0, 0));
}

#[test]
fn a_part_that_is_wrong_or_too_long_starts_from_zero() {
    let (result, asked) = fetch_one(&content(1), &content(2)[..100_000], ranged);
    assert_eq!((result.unwrap().failures, asked), (1, vec![Some(100_000), None]));
    let (result, asked) = fetch_one(&content(1), &[content(1), content(2)].concat(), ranged);
    assert_eq!((result.unwrap().failures, asked), (0, vec![None]));
}

#[test]
fn a_server_that_ignores_the_range_starts_the_file_again() {
    let whole_file = content(1);
    let (result, asked) = fetch_one(&whole_file, &whole_file[..150_000], |_, content| whole(content));
    assert_eq!(asked, [Some(150_000)]);
    assert_eq!(result.unwrap().bytes, 400_000);
}

#[test]
fn a_server_that_sends_another_range_is_asked_from_zero() {
    let whole_file = content(1);
    let (result, asked) = fetch_one(&whole_file, &whole_file[..150_000], |request, content| {
        let from = request.from.map(|from| from - 7);
        ranged(&server::Request { path: String::new(), from, before: 0 }, content)
    });
    result.unwrap();
    assert_eq!(asked, [Some(150_000), None]);
}

#[test]
fn a_truncated_answer_is_gone_on_with_where_it_ended() {
    let (result, asked) = fetch_one(&content(1), b"", |request, content| match request.before {
        0 => cut(request, content, 90_000, Act::Close),
        1 => cut(request, content, 90_000, Act::Close),
        _ => ranged(request, content),
    });
    let summary = result.unwrap();
    assert_eq!(asked, [None, Some(90_000), Some(180_000)]);
    assert_eq!((summary.bytes, summary.failures), (400_000, 2));
}

#[test]
fn an_answer_without_a_length_that_ends_early_is_gone_on_with() {
    let (result, asked) = fetch_one(&content(1), b"", |request, content| match request.before {
        0 => vec![Act::Send([b"HTTP/1.0 200 OK\r\n\r\n", &content[..5000]].concat()), Act::Close],
        _ => ranged(request, content),
    });
    result.unwrap();
    assert_eq!(asked, [None, Some(5000)]);
}

#[test]
fn a_server_that_falls_silent_is_given_up_in_time_and_asked_again() {
    let begun = Instant::now();
    let impatient = DownloadOptions { stall: Duration::from_millis(500), ..options() };
    let (result, asked) =
        fetch_one_with(impatient, &content(1), b"", |request, content| match request.before {
            0 => cut(request, content, 90_000, Act::Stall),
            1 => vec![Act::Stall],
            _ => ranged(request, content),
        });
    assert_eq!(asked[..3], [None, Some(90_000), Some(90_000)]);
    assert!(result.unwrap().failures >= 2);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn attempts_are_counted_anew_after_every_good_piece() {
    let long: Vec<u8> = (0..6).flat_map(content).collect();
    let (result, asked) = fetch_one(&long, b"", |request, content| {
        let left = content.len() - request.from.unwrap_or(0);
        cut(request, content, left.min(300_000), Act::Close)
    });
    assert_eq!(asked.len(), 8, "{asked:?}");
    assert_eq!(result.unwrap().failures, 7);
}

#[test]
fn a_server_in_trouble_is_asked_again_and_in_the_end_named() {
    let (result, asked) = fetch_one(&content(1), b"", |request, content| match request.before {
        0 => status("503 Service Unavailable", "Retry-After: 0\r\n"),
        1 => status("429 Too Many Requests", ""),
        _ => ranged(request, content),
    });
    assert_eq!((result.unwrap().failures, asked.len()), (2, 3));

    let (result, asked) = fetch_one(&content(1), b"", |_, _| status("500 Internal Server Error", ""));
    assert_eq!(asked.len(), 4, "one attempt and three retries");
    let error = result.unwrap_err();
    assert!(error.hint().unwrap().contains("--mirror"));
    assert!(
        matches!(error, FetchError::Unreachable { attempts: 4, source: Cause::Status(500), .. }),
        "{error:?}"
    );
}

#[test]
fn nobody_listening_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::new(|_| Vec::new());
    let item = Item { url: format!("http://{closed}/x"), ..item(&server, folder.path(), "x", b"x") };
    let error = fetch(&[item]).unwrap_err();
    assert!(
        matches!(error, FetchError::Unreachable { attempts: 4, source: Cause::Request(_), .. }),
        "{error:?}"
    );
}

#[test]
fn an_address_that_cannot_be_right_is_not_tried_twice() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_| Vec::new());
    let item = Item { url: "nonsense".to_owned(), ..item(&server, folder.path(), "x", b"x") };
    let error = fetch(&[item]).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { attempts: 1, .. }), "{error:?}");
}

#[test]
fn wrong_bytes_are_asked_for_once_more_and_then_a_question_of_trust() {
    let (result, asked) = fetch_one(&content(1), b"", |_, _| whole(&content(2)));
    assert_eq!(asked, [None, None]);
    let FetchError::Trust { source: Mismatch::Hash { expected, got }, .. } = result.unwrap_err() else {
        panic!("not a hash mismatch");
    };
    assert_eq!(expected, <[u8; 32]>::from(Sha256::digest(content(1))));
    assert_eq!(got, <[u8; 32]>::from(Sha256::digest(content(2))));

    let (result, asked) = fetch_one(&content(1), b"", |request, content| match request.before {
        0 => whole(&super_wrong(content)),
        _ => whole(content),
    });
    assert_eq!((result.unwrap().failures, asked.len()), (1, 2));
}

fn super_wrong(content: &[u8]) -> Vec<u8> {
    content.iter().map(|byte| !byte).collect()
}

#[test]
fn another_length_is_not_even_read() {
    let (result, asked) = fetch_one(&content(1), b"", |_, _| whole(b"<html>log in</html>"));
    assert_eq!(asked.len(), 2);
    let error = result.unwrap_err();
    assert!(matches!(error, FetchError::Trust { source: Mismatch::Size { expected: 400_000, got: 19 }, .. }));
}

#[test]
fn never_more_than_the_size_is_taken_from_a_server_without_an_end() {
    let (result, asked) = fetch_one(&content(1), b"", |_, content| {
        let endless = std::iter::repeat_n(0, 4 << 20).collect::<Vec<u8>>();
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        vec![Act::Send([head, content.to_vec(), endless].concat()), Act::Stall]
    });
    assert_eq!((result.unwrap().bytes, asked.len()), (400_000, 1));
}

#[test]
fn everything_that_is_gone_is_named_and_the_rest_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|request| match request.path.as_str() {
        "one" => status("404 Not Found", ""),
        "two" => status("410 Gone", ""),
        _ => whole(b"here"),
    });
    let items = ["first", "one", "two", "last"].map(|name| item(&server, folder.path(), name, b"here"));
    let error = fetch(&items).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("the mirror no longer has one, two (status 404 for http://"), "{text}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("xenolith lock --update one two") && hint.contains("--mirror"), "{hint}");
    assert!(items[0].dest.exists() && items[3].dest.exists());
    assert_eq!(server.requests().len(), 4, "what is gone is not asked for twice");
}

#[test]
fn a_refusal_ends_the_run_at_once() {
    let (result, asked) = fetch_one(&content(1), b"", |_, _| status("403 Forbidden", ""));
    assert!(matches!(result.unwrap_err(), FetchError::Refused { status: 403, .. }));
    assert_eq!(asked.len(), 1);
}

#[test]
fn offline_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|_| whole(b"here"));
    let items: Vec<Item> =
        (0..9).map(|index| item(&server, folder.path(), &format!("p{index}"), b"here")).collect();
    fetch(&items[..1]).unwrap();
    let offline = Downloader::new(DownloadOptions { offline: true, ..options() });
    let error = offline.fetch_all(&items, &|_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "8 files (32 bytes) are missing and nothing may be fetched: p1, p2, p3, p4, p5 and 3 more"
    );
    assert!(offline.fetch_all(&items[..1], &|_| {}).is_ok());
    assert!(matches!(offline.fetch_small(&server.url("x"), 9), Err(FetchError::Offline { .. })));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_stop_ends_waiting_and_keeps_what_has_arrived() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|request| cut(request, &content(1), 90_000, Act::Close));
    let item = item(&server, folder.path(), "file", &content(1));
    let patient = DownloadOptions {
        first_wait: Duration::from_secs(600),
        longest_wait: Duration::from_secs(600),
        ..options()
    };
    let downloader = Downloader::new(patient);
    let stop = downloader.stop();
    let begun = Instant::now();
    let result = downloader.fetch_all(std::slice::from_ref(&item), &|progress| {
        if matches!(progress.event, Event::Waiting { .. }) {
            stop.stop();
        }
    });
    assert!(matches!(result, Err(FetchError::Interrupted)));
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(fs_err::read(item.dest.with_file_name("file.part")).unwrap(), content(1)[..90_000]);
}

#[test]
fn a_failure_elsewhere_ends_a_wait_and_is_the_one_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let told = Mutex::new(told);
    let server = Server::new(move |request| match request.path.as_str() {
        "waits" => status("503 Service Unavailable", ""),
        _ => {
            // Answers once the other one has begun to wait.
            told.lock().unwrap().recv().unwrap();
            status("403 Forbidden", "")
        }
    });
    let items = ["waits", "refused"].map(|name| item(&server, folder.path(), name, b"x"));
    let patient = DownloadOptions {
        first_wait: Duration::from_secs(600),
        longest_wait: Duration::from_secs(600),
        ..options()
    };
    let begun = Instant::now();
    let error = Downloader::new(patient).fetch_all(&items, &|progress| {
        if matches!(progress.event, Event::Waiting { .. }) {
            tell.send(()).unwrap();
        }
    });
    assert!(matches!(error, Err(FetchError::Refused { .. })), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn two_runs_at_once_fetch_a_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let told = Mutex::new(told);
    let server = Server::new(move |_| {
        // Answers once the other run has found the part taken.
        told.lock().unwrap().recv().unwrap();
        whole(&content(1))
    });
    let item = item(&server, folder.path(), "file", &content(1));
    let run = || {
        Downloader::new(options()).fetch_all(std::slice::from_ref(&item), &|progress: Progress<'_>| {
            if progress.event == Event::Elsewhere {
                tell.send(()).unwrap();
            }
        })
    };
    let (one, two) = std::thread::scope(|scope| {
        let (one, two) = (scope.spawn(run), scope.spawn(run));
        (one.join().unwrap().unwrap(), two.join().unwrap().unwrap())
    });
    assert_eq!((one.fetched + two.fetched, one.present + two.present), (1, 1));
    assert_eq!(fs_err::read(&item.dest).unwrap(), content(1));
    assert_eq!(fs_err::read_dir(folder.path().join("pool")).unwrap().count(), 1, "no part is left behind");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_empty_file_is_made_without_a_request() {
    let (result, asked) = fetch_one(b"", b"", ranged);
    assert_eq!((result.unwrap().fetched, asked.len()), (1, 0));
}

#[test]
fn progress_begins_where_the_part_ends_and_reaches_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|request| ranged(request, &content(1)));
    let item = item(&server, folder.path(), "file", &content(1));
    fs_err::create_dir_all(item.dest.parent().unwrap()).unwrap();
    fs_err::write(item.dest.with_file_name("file.part"), &content(1)[..1000]).unwrap();
    let events = Mutex::new(Vec::new());
    Downloader::new(options())
        .fetch_all(std::slice::from_ref(&item), &|progress| events.lock().unwrap().push(progress.event))
        .unwrap();
    let events = events.into_inner().unwrap();
    assert_eq!(events.first(), Some(&Event::Started { from: 1000 }));
    assert_eq!(events.iter().rev().nth(1), Some(&Event::At(400_000)));
    assert_eq!(events.last(), Some(&Event::Done));
}

#[test]
fn a_small_file_has_a_largest_size() {
    let server = Server::new(|request| match (request.path.as_str(), request.before) {
        ("index", 0) => status("503 Service Unavailable", ""),
        ("index", _) => whole(b"12345"),
        ("endless", _) => {
            vec![Act::Send([b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![0; 1 << 20]].concat()), Act::Stall]
        }
        _ => status("404 Not Found", ""),
    });
    let downloader = Downloader::new(options());
    assert_eq!(downloader.fetch_small(&server.url("index"), 5).unwrap(), b"12345");
    for path in ["index", "endless"] {
        assert!(matches!(
            downloader.fetch_small(&server.url(path), 4),
            Err(FetchError::TooLarge { max: 4, .. })
        ));
    }
    assert!(matches!(
        downloader.fetch_small(&server.url("none"), 4),
        Err(FetchError::NotFound { status: 404, .. })
    ));
}
