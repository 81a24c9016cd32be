//! Each medium as a sysfs fixture, and the order in which the search tries it.

use uuid::uuid;

use super::*;
use crate::blocks;
use crate::blocks::tests::fixture;

const ESP_1: &str = "11111111-1111-4111-8111-111111111111";
const ESP_2: &str = "22222222-2222-4222-8222-222222222222";
const FROM_1: Origin = Origin::Partition(uuid!("11111111-1111-4111-8111-111111111111"));
const FROM_2: Origin = Origin::Partition(uuid!("22222222-2222-4222-8222-222222222222"));

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn disks(lines: &[&str]) -> Vec<Disk> {
    blocks::disks(fixture(lines).path())
}

/// The lines of an installed disk.
fn installed(name: &str, esp: &str) -> Vec<String> {
    let part =
        |number| if name.ends_with(|c: char| c.is_ascii_digit()) { format!("p{number}") } else { number };
    let labels = ["esp", "root-a", "verity-a", "root-b", "verity-b", "state"];
    let mut lines = vec![format!("{name} disk")];
    for (number, label) in (2..).zip(labels) {
        let uuid = if label == "esp" { esp } else { "" };
        lines.push(format!(" {name}{} xenolith-{label} {uuid}", part(number.to_string())));
    }
    lines
}

/// Two lists of lines in one fixture.
fn machine(parts: &[Vec<String>]) -> Vec<Disk> {
    let lines: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
    disks(&lines)
}

/// Refuses everything, and lists what was tried until the search waits or gives up.
fn tried(search: &mut Search, disks: &[Disk], now: Duration) -> Vec<String> {
    let mut tried = Vec::new();
    while let Step::Try(candidate) = search.next(disks, now) {
        tried.push(match &candidate {
            Candidate::Slot { disk, slot, .. } => format!("{disk} {slot}"),
            Candidate::Medium { disk, .. } => format!("{disk} files"),
            Candidate::Network => "network".to_owned(),
        });
        search.refused(candidate, now, "no".to_owned());
    }
    tried
}

#[test]
fn an_installed_disk_is_tried_slot_by_slot() {
    let disks = machine(&[installed("vda", ESP_1)]);
    let mut search = Search::new(FROM_1);
    let Step::Try(Candidate::Slot { slot: Slot::A, data, hash, .. }) = search.next(&disks, seconds(0)) else {
        panic!("not slot A")
    };
    assert_eq!((data, hash), ("/dev/vda3".into(), "/dev/vda4".into()));
    assert_eq!(tried(&mut search, &disks, seconds(0)), ["vda A", "vda B", "vda files"]);
}

#[test]
fn of_two_disks_with_the_same_root_the_loaders_own_is_taken() {
    let disks = machine(&[installed("sda", ESP_1), installed("sdb", ESP_2)]);
    let first = |origin, now| tried(&mut Search::new(origin), &disks, now)[0].clone();
    assert_eq!(first(FROM_1, seconds(0)), "sda A");
    assert_eq!(first(FROM_2, seconds(0)), "sdb A");
    assert_eq!(first(Origin::Unknown, seconds(0)), "sda A");
}

#[test]
fn a_stick_that_appears_late_wins_over_an_installed_disk() {
    let host = installed("nvme0n1", ESP_2);
    let alone = machine(std::slice::from_ref(&host));
    let mut search = Search::new(FROM_1);
    assert_eq!(search.next(&alone, seconds(1)), Step::Wait { until: ORIGIN_GRACE });
    let stick = vec!["sda stick".to_owned(), format!(" sda2 appended {ESP_1}")];
    let both = machine(&[host, stick]);
    assert_eq!(tried(&mut search, &both, seconds(9)), ["sda files"]);
    assert_eq!(
        tried(&mut search, &both, seconds(9) + SETTLED),
        ["nvme0n1 A", "nvme0n1 B", "nvme0n1 files"],
        "the stick has nothing, so the wait for it is over"
    );
}

#[test]
fn the_loaders_disk_may_show_its_partitions_one_after_another() {
    let host = installed("sdb", ESP_2);
    let mut search = Search::new(FROM_1);
    let early = machine(&[installed("sda", ESP_1)[..2].to_vec(), host.clone()]);
    assert_eq!(tried(&mut search, &early, seconds(1)), ["sda files"]);
    let whole = machine(&[installed("sda", ESP_1), host]);
    assert_eq!(tried(&mut search, &whole, seconds(2)), ["sda A", "sda B"]);
}

#[test]
fn without_the_loaders_disk_the_others_count_after_the_grace() {
    let disks = machine(&[installed("sda", ESP_1)]);
    let mut search = Search::new(FROM_2);
    assert!(tried(&mut search, &disks, ORIGIN_GRACE - seconds(1)).is_empty());
    assert_eq!(tried(&mut search, &disks, ORIGIN_GRACE), ["sda A", "sda B", "sda files"]);
}

#[test]
fn an_optical_medium_is_tried_first_when_the_loader_names_no_partition() {
    let disks = machine(&[installed("sda", ESP_1), vec!["sr0 disc".to_owned()]]);
    let mut search = Search::new(Origin::NotAPartition);
    assert_eq!(tried(&mut search, &disks, seconds(0)), ["sr0 files"]);
    assert_eq!(tried(&mut search, &disks, SETTLED)[0], "sda A");
}

#[test]
fn an_empty_drive_is_passed_over_until_a_disc_is_in() {
    let mut search = Search::new(Origin::NotAPartition);
    assert!(tried(&mut search, &disks(&["sr0 empty"]), seconds(1)).is_empty());
    assert_eq!(tried(&mut search, &disks(&["sr0 disc"]), seconds(2)), ["sr0 files"]);
}

#[test]
fn a_medium_in_ram_is_tried_as_files_and_as_slots() {
    let mut lines = installed("pmem0", ESP_1);
    lines.push("pmem1 iso".to_owned());
    let disks = machine(&[lines]);
    let mut search = Search::new(Origin::NotAPartition);
    assert_eq!(tried(&mut search, &disks, seconds(0)), ["pmem0 A", "pmem0 B", "pmem0 files", "pmem1 files"]);
}

#[test]
fn a_loader_that_says_nothing_means_slots_first_and_media_after_a_while() {
    let disks =
        machine(&[vec!["sda stick".to_owned()], installed("sdb", ESP_1), vec!["sr0 disc".to_owned()]]);
    let mut search = Search::new(Origin::Unknown);
    assert_eq!(tried(&mut search, &disks, seconds(0)), ["sdb A", "sdb B"]);
    assert_eq!(search.next(&disks, seconds(0)), Step::Wait { until: UNKNOWN_GRACE });
    assert_eq!(tried(&mut search, &disks, UNKNOWN_GRACE), ["sda files", "sdb files", "sr0 files"]);
}

#[test]
fn half_a_slot_is_no_slot() {
    let disks = disks(&["vda disk", " vda3 xenolith-root-a", " vda6 xenolith-verity-b"]);
    assert!(tried(&mut Search::new(Origin::Unknown), &disks, seconds(0)).is_empty());
}

#[test]
fn with_nothing_there_the_network_is_asked_and_then_it_ends() {
    let mut search = Search::new(Origin::Unknown);
    assert_eq!(search.next(&[], seconds(0)), Step::Wait { until: NETWORK });
    assert_eq!(tried(&mut search, &[], NETWORK), ["network"]);
    assert_eq!(search.next(&[], NETWORK), Step::Wait { until: NETWORK + NETWORK_PAUSE });
    assert_eq!(tried(&mut search, &[], NETWORK + NETWORK_PAUSE), ["network"]);
    assert_eq!(search.next(&[], DEADLINE), Step::GiveUp);
    assert_eq!(search.report(), ["files over the network: no"]);
}

#[test]
fn a_slot_that_is_broken_on_the_loaders_own_disk_ends_the_search_sooner() {
    let disks = machine(&[installed("vda", ESP_1)]);
    let mut search = Search::new(FROM_1);
    tried(&mut search, &disks, seconds(5));
    assert_eq!(tried(&mut search, &disks, NETWORK), ["network"]);
    assert!(matches!(search.next(&disks, HERE_DEADLINE - seconds(1)), Step::Try(Candidate::Network)));
    assert_eq!(search.next(&disks, HERE_DEADLINE), Step::GiveUp);
    let mut elsewhere = Search::new(FROM_2);
    tried(&mut elsewhere, &disks, HERE_DEADLINE);
    assert_ne!(elsewhere.next(&disks, HERE_DEADLINE), Step::GiveUp, "its disk may still come");
}

#[test]
fn a_loader_from_the_network_asks_the_network_sooner() {
    let mut search = Search::new(Origin::NotAPartition);
    assert_eq!(search.next(&[], seconds(0)), Step::Wait { until: NETWORK_GRACE });
}

#[test]
fn what_was_refused_is_tried_again_only_when_its_disk_changed_and_not_for_ever() {
    let disks = machine(&[installed("vda", ESP_1)]);
    let mut search = Search::new(FROM_1);
    assert_eq!(tried(&mut search, &disks, seconds(0)).len(), 3);
    assert!(tried(&mut search, &disks, seconds(1)).is_empty());
    search.changed("vdb");
    search.changed("vdaa");
    assert!(tried(&mut search, &disks, seconds(1)).is_empty());
    for _ in 1..ATTEMPTS {
        search.changed("vda3");
        assert_eq!(tried(&mut search, &disks, seconds(2)).len(), 3);
    }
    search.changed("vda");
    assert!(tried(&mut search, &disks, seconds(3)).is_empty());
}

#[test]
fn the_report_names_every_place_and_its_reason() {
    let disks = machine(&[installed("vda", ESP_1)]);
    let mut search = Search::new(FROM_1);
    tried(&mut search, &disks, seconds(0));
    assert_eq!(
        search.report(),
        [
            "slot A on /dev/vda3 and /dev/vda4: no",
            "slot B on /dev/vda5 and /dev/vda6: no",
            "files on the medium /dev/vda: no"
        ]
    );
}

proptest::proptest! {
    /// Whatever comes and goes, the search tries everything at most `ATTEMPTS` times and ends.
    #[test]
    fn every_search_ends(events: Vec<(u8, u16)>) {
        static BOTH: std::sync::OnceLock<Vec<Disk>> = std::sync::OnceLock::new();
        let both = BOTH.get_or_init(|| machine(&[installed("sda", ESP_1), installed("sdb", ESP_2)]));
        let mut search = Search::new(FROM_2);
        let mut now = Duration::ZERO;
        let mut local = 0_u32;
        for (event, pause) in events {
            now += Duration::from_millis(pause.into());
            let shown = &both[..usize::from(event % 3)];
            search.changed(if event & 4 == 0 { "sda" } else { "sdb7" });
            for name in tried(&mut search, shown, now) {
                local += u32::from(name != "network");
            }
        }
        assert!(local <= 6 * ATTEMPTS);
        assert_eq!(search.next(both, DEADLINE), Step::GiveUp);
    }
}
