use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::index::packages;
use crate::{Archive, Sha256};

/// A suite: its name and its packages, each `name version` and the rest of its stanza.
type Suite<'t> = (&'t str, &'t [(&'t str, &'t str)]);

fn stanzas(suite: &str, list: &[(&str, &str)]) -> String {
    list.iter().fold(String::new(), |mut text, (package, fields)| {
        let (name, version) = package.split_once(' ').unwrap();
        let sha256 = Sha256::of(format!("{suite} {package}"));
        writeln!(text, "Package: {name}\nVersion: {version}\nArchitecture: amd64\nSize: 1\nSHA256: {sha256}")
            .unwrap();
        writeln!(text, "Filename: pool/{name}_{version}.deb").unwrap();
        let fields: String = fields
            .split(" & ")
            .filter(|field| !field.is_empty())
            .map(|field| field.to_owned() + "\n")
            .collect();
        text + &fields + "\n"
    })
}

fn with_universe<T>(suites: &[Suite<'_>], test: impl FnOnce(&Universe<'_>) -> T) -> T {
    let texts: Vec<_> = suites.iter().map(|(name, list)| stanzas(name, list)).collect();
    let offers = suites.iter().zip(&texts).map(|((name, _), text)| SuiteOffer {
        archive: if name.ends_with("security") { Archive::DebianSecurity } else { Archive::Debian },
        suite: name.parse().unwrap(),
        on_request: name.ends_with("backports"),
        packages: packages(text.as_bytes()).unwrap(),
    });
    test(&Universe::new(offers.collect()).unwrap())
}

fn group(names: &str) -> GroupSpec {
    let (wanted, excluded) = names.split_once(" - ").unwrap_or((names, ""));
    GroupSpec {
        name: "test".parse().unwrap(),
        packages: wanted.split_whitespace().map(|name| name.parse().unwrap()).collect(),
        essential: false,
        recommends: false,
        exclude: excluded.split_whitespace().map(|name| name.parse().unwrap()).collect(),
    }
}

fn printed(packages: &[LockedPackage]) -> String {
    packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The chosen packages as text, or the error.
fn chosen(suites: &[Suite<'_>], spec: &GroupSpec) -> String {
    with_universe(suites, |universe| match resolve(universe, spec, &Held::new()) {
        Ok(packages) => printed(&packages),
        Err(error) => format!("error: {error}"),
    })
}

fn from_release(list: &[(&str, &str)], names: &str) -> String {
    chosen(&[("trixie", list)], &group(names))
}

#[test]
fn dependencies_follow_and_nothing_else() {
    let list = [
        ("aa 1", "Depends: bb (>= 2), cc & Pre-Depends: dd & Recommends: ee & Suggests: ff"),
        ("bb 2", ""),
        ("cc 1", "Depends: aa"),
        ("dd 1", ""),
        ("ee 1", ""),
        ("ff 1", ""),
    ];
    assert_eq!(from_release(&list, "aa"), "aa 1, bb 2, cc 1, dd 1");
}

#[test]
fn recommended_packages_come_when_the_group_says_so_and_never_fail() {
    let list =
        [("aa 1", "Recommends: bb, gone, cc (>= 2)"), ("bb 1", "Depends: dd"), ("cc 1", ""), ("dd 1", "")];
    let spec = GroupSpec { recommends: true, ..group("aa") };
    assert_eq!(chosen(&[("trixie", &list)], &spec), "aa 1, bb 1, dd 1");
}

#[test]
fn a_recommendation_does_not_decide_an_alternative() {
    let list =
        [("aa 1", "Recommends: cc & Depends: dd"), ("bb 1", ""), ("cc 1", ""), ("dd 1", "Depends: bb | cc")];
    let spec = GroupSpec { recommends: true, ..group("aa") };
    assert_eq!(chosen(&[("trixie", &list)], &spec), "aa 1, bb 1, cc 1, dd 1");
}

#[test]
fn what_is_already_chosen_decides_an_alternative() {
    let list = [("aa 1", "Depends: bb | cc"), ("bb 1", ""), ("cc 1", "")];
    assert_eq!(from_release(&list, "aa"), "aa 1, bb 1");
    assert_eq!(from_release(&list, "aa cc"), "aa 1, cc 1");
}

#[test]
fn an_alternative_that_cannot_be_had_is_passed_over() {
    let list =
        [("aa 1", "Depends: gone | bb (>= 2) | cc:i386 | dd"), ("bb 1", ""), ("cc 1", ""), ("dd 1", "")];
    assert_eq!(from_release(&list, "aa"), "aa 1, dd 1");
}

#[test]
fn a_provided_name_will_do_and_its_version_counts() {
    let list = [
        ("aa 1", "Depends: virtual, versioned (>= 2)"),
        ("pp 1", "Provides: virtual, versioned"),
        ("qq 1", "Provides: versioned (= 1)"),
        ("rr 1", "Provides: versioned (= 2)"),
    ];
    assert_eq!(from_release(&list, "aa"), "aa 1, pp 1, rr 1");
}

#[test]
fn among_providers_priority_decides_then_the_name() {
    let list = [
        ("aa 1", "Depends: awk, mail"),
        ("gawk 1", "Provides: awk & Priority: optional"),
        ("mawk 1", "Provides: awk & Priority: required"),
        ("zmail 1", "Provides: mail"),
        ("bmail 1", "Provides: mail"),
    ];
    assert_eq!(from_release(&list, "aa"), "aa 1, bmail 1, mawk 1");
}

#[test]
fn the_highest_version_of_the_ordinary_suites_is_taken() {
    let suites: [Suite<'_>; 4] = [
        ("trixie", &[("aa 1", ""), ("bb 3", "")]),
        ("trixie-updates", &[("aa 2", "")]),
        ("trixie-security", &[("aa 3", "Depends: bb"), ("bb 2", "")]),
        ("trixie-backports", &[("aa 9", ""), ("bb 9", "")]),
    ];
    assert_eq!(chosen(&suites, &group("aa")), "aa 3, bb 3");
}

#[test]
fn a_pinned_package_brings_from_its_suite_only_what_nothing_else_meets() {
    let suites: [Suite<'_>; 2] = [
        (
            "trixie",
            &[("rustc 1.85", "Depends: libstd (= 1.85), libc6"), ("libstd 1.85", ""), ("libc6 2.41", "")],
        ),
        (
            "trixie-backports",
            &[
                ("rustc 1.96", "Depends: libstd (= 1.96), libc6, llvm21"),
                ("libstd 1.96", "Depends: libc6"),
                ("libc6 2.42", ""),
                ("llvm21 21", ""),
            ],
        ),
    ];
    assert_eq!(
        chosen(&suites, &group("rustc@trixie-backports")),
        "libc6 2.41, libstd 1.96, llvm21 21, rustc 1.96"
    );
    assert_eq!(chosen(&suites, &group("rustc")), "libc6 2.41, libstd 1.85, rustc 1.85");
    // Chosen at 1.85 before rustc is looked at: the walk starts over.
    assert_eq!(
        chosen(&suites, &group("libstd rustc@trixie-backports")),
        "libc6 2.41, libstd 1.96, llvm21 21, rustc 1.96"
    );
}

#[test]
fn an_excluded_package_counts_as_installed() {
    let list = [
        ("aa 1", "Depends: bb, mail | other"),
        ("bb 1", "Depends: cc"),
        ("cc 1", ""),
        ("exim 1", "Provides: mail"),
        ("other 1", ""),
    ];
    assert_eq!(from_release(&list, "aa - bb exim"), "aa 1");
    assert_eq!(from_release(&list, "aa bb - bb"), "error: group test: bb is asked for and excluded at once");
}

#[test]
fn essential_and_required_packages_come_with_the_group_that_wants_them() {
    let list = [
        ("aa 1", ""),
        ("bash 5", "Essential: yes & Pre-Depends: libc6"),
        ("libc6 2", ""),
        ("tzdata 1", "Priority: required"),
        ("vim 9", "Priority: important"),
    ];
    let spec = GroupSpec { essential: true, ..group("aa - tzdata") };
    assert_eq!(chosen(&[("trixie", &list)], &spec), "aa 1, bash 5, libc6 2");
}

#[test]
fn errors_name_the_chain_that_led_there() {
    let list = [("aa 1", "Depends: bb"), ("bb 2", "Depends: cc (>= 5) | dd"), ("cc 4", "")];
    assert_eq!(
        from_release(&list, "aa"),
        "error: group test: nothing meets \"cc (>= 5) | dd\", needed by aa 1 → bb 2; there is cc 4"
    );
    assert_eq!(from_release(&list, "zz"), "error: group test: there is no package zz");
    assert_eq!(
        from_release(&list, "aa@sid"),
        "error: group test: aa is pinned to sid, which is not one of the suites that are read"
    );
    let suites: [Suite<'_>; 2] = [("trixie", &list), ("trixie-backports", &[("ee 1", "")])];
    assert_eq!(
        chosen(&suites, &group("aa@trixie-backports")),
        "error: group test: there is no package aa in trixie-backports"
    );
}

#[test]
fn packages_that_refuse_each_other_are_an_error_that_names_both() {
    let list = [
        ("aa 1", "Depends: bb, cc"),
        ("bb 1", "Conflicts: cc (<< 2)"),
        ("cc 1", ""),
        ("dd 1", "Provides: slot & Conflicts: slot"),
        ("ee 1", "Provides: slot"),
        ("ff 1", "Breaks: cc (<< 1), ff (<< 9)"),
    ];
    assert_eq!(
        from_release(&list, "aa"),
        "error: group test: bb 1 and cc 1 cannot be together: bb 1 says Conflicts: cc (<< 2) \
         (they are here by aa 1 → bb 1, aa 1 → cc 1)"
    );
    assert_eq!(from_release(&list, "dd cc ff"), "cc 1, dd 1, ff 1");
    assert!(from_release(&list, "dd ee").contains("dd 1 and ee 1 cannot be together"));
}

#[test]
fn a_dependency_that_cannot_be_read_is_an_error_only_for_who_needs_it() {
    let list = [("aa 1", ""), ("bb 1", "Depends: cc (>=)")];
    assert_eq!(from_release(&list, "aa"), "aa 1");
    assert_eq!(from_release(&list, "bb"), "error: bb 1: Depends is not valid");
}

/// Resolves in `before`, then in `after` with everything held but what `only` names.
fn updated(before: &[(&str, &str)], after: &[(&str, &str)], names: &str, only: &[&str]) -> String {
    let spec = group(names);
    let old =
        with_universe(&[("trixie", before)], |universe| resolve(universe, &spec, &Held::new()).unwrap());
    let held: Held<'_> = old.iter().map(|package| (package.name.as_str(), package)).collect();
    let held: Held<'_> = held.into_iter().filter(|(name, _)| !only.contains(name)).collect();
    with_universe(&[("trixie", after)], |universe| match resolve(universe, &spec, &held) {
        Ok(packages) => printed(&packages),
        Err(error) => format!("error: {error}"),
    })
}

#[test]
fn held_versions_stay_and_only_the_named_one_moves() {
    let before = [("aa 1", "Depends: bb"), ("bb 1", ""), ("cc 1", "")];
    let after = [
        ("aa 1", "Depends: bb"),
        ("aa 2", "Depends: bb"),
        ("bb 1", ""),
        ("bb 2", ""),
        ("cc 1", ""),
        ("cc 2", ""),
    ];
    assert_eq!(updated(&before, &after, "aa cc", &[]), "aa 1, bb 1, cc 1");
    assert_eq!(updated(&before, &after, "aa cc", &["bb"]), "aa 1, bb 2, cc 1");
}

#[test]
fn what_must_move_along_moves_along() {
    let before = [("aa 1", "Depends: data (= 1)"), ("data 1", ""), ("cc 1", "")];
    let after = [
        ("aa 2", "Depends: data (= 2)"),
        ("data 2", ""),
        ("aa 1", "Depends: data (= 1)"),
        ("data 1", ""),
        ("cc 2", ""),
        ("cc 1", ""),
    ];
    assert_eq!(updated(&before, &after, "aa cc", &["aa"]), "aa 2, cc 1, data 2");
    assert_eq!(updated(&before, &after, "aa cc", &["data"]), "aa 2, cc 1, data 2");
    let breaks = [("aa 1", ""), ("aa 2", "Breaks: cc (<< 2)"), ("cc 1", ""), ("cc 2", "")];
    assert_eq!(updated(&[("aa 1", ""), ("cc 1", "")], &breaks, "aa cc", &["aa"]), "aa 2, cc 2");
}

#[test]
fn a_held_version_that_the_archive_dropped_stays_with_what_it_came_with() {
    let before = [("aa 1", "Depends: bb, cc"), ("bb 1", ""), ("cc 1", ""), ("dd 1", "")];
    let after = [("aa 2", ""), ("bb 1", ""), ("cc 1", ""), ("dd 1", ""), ("dd 2", "")];
    assert_eq!(updated(&before, &after, "aa dd", &["dd"]), "aa 1, bb 1, cc 1, dd 2");
}

#[test]
fn the_digest_of_a_group_changes_with_what_it_asks_for_and_not_with_the_order() {
    let digest = |names: &str| group(names).digest();
    assert_eq!(digest("aa bb - cc dd"), digest("bb aa - dd cc"));
    let others = ["aa", "aa bb cc dd", "aa@sid bb - cc dd"].map(digest);
    let flags = [
        GroupSpec { essential: true, ..group("aa bb - cc dd") }.digest(),
        GroupSpec { recommends: true, ..group("aa bb - cc dd") }.digest(),
    ];
    let all: std::collections::BTreeSet<_> =
        others.into_iter().chain(flags).chain([digest("aa bb - cc dd")]).collect();
    assert_eq!(all.len(), 6);
}

fn any_archive() -> impl Strategy<Value = Vec<(String, String)>> {
    let dependency = (0_u8..8, prop::option::of(1_u8..4), prop::option::of(0_u8..8));
    let package = (0_u8..8, 1_u8..4, prop::collection::vec(dependency, 0..4), prop::option::of(0_u8..8));
    let written = package.prop_map(|(name, version, dependencies, provides)| {
        let dependencies: Vec<_> = dependencies
            .into_iter()
            .map(|(name, version, other)| {
                let version = version.map(|version| format!(" (>= {version})")).unwrap_or_default();
                let other = other.map(|other| format!(" | p{other}")).unwrap_or_default();
                format!("p{name}{version}{other}")
            })
            .collect();
        let provides = provides.map(|name| format!(" & Provides: p{name}")).unwrap_or_default();
        (format!("p{name} {version}"), format!("Depends: {}{provides}", dependencies.join(", ")))
    });
    prop::collection::vec(written, 1..20)
}

proptest! {
    /// The promise: whatever the archive and the previous lock, a result is closed and the same every time.
    #[test]
    fn a_set_is_closed_and_comes_out_the_same_again(
        before in any_archive(), after in any_archive(), roots in prop::collection::vec(0_u8..8, 1..4)
    ) {
        let names: Vec<_> = roots.iter().map(|root| format!("p{root}")).collect();
        let spec = group(&names.join(" "));
        fn borrowed(list: &[(String, String)]) -> Vec<(&str, &str)> {
            list.iter().map(|(package, fields)| (package.as_str(), fields.as_str())).collect()
        }
        let old = with_universe(&[("trixie", &borrowed(&before))], |universe| {
            let old = resolve(universe, &spec, &Held::new());
            if let Ok(set) = &old {
                assert_closed(&borrowed(&before), set);
            }
            assert_eq!(resolve(universe, &spec, &Held::new()), old);
            old
        });
        let old = old.unwrap_or_default();
        let held: Held<'_> = old.iter().map(|package| (package.name.as_str(), package)).collect();
        with_universe(&[("trixie", &borrowed(&after))], |universe| {
            let new = resolve(universe, &spec, &held);
            assert_eq!(resolve(universe, &spec, &held), new);
        });
    }
}

fn assert_closed(archive: &[(&str, &str)], set: &[LockedPackage]) {
    let text = stanzas("trixie", archive);
    let all = packages(text.as_bytes()).unwrap();
    let chosen: Vec<_> = set
        .iter()
        .map(|locked| {
            let mut found = all
                .iter()
                .filter(|offer| offer.name == locked.name.as_str() && offer.version == locked.version);
            found.next().cloned().unwrap()
        })
        .collect();
    for package in &chosen {
        for dependency in crate::index::relations(package.depends).unwrap() {
            let met = dependency.0.iter().any(|relation| {
                chosen.iter().any(|other| {
                    let provided = crate::index::relations(other.provides).unwrap();
                    (other.name == relation.name && relation.admits(&other.version))
                        || (relation.constraint.is_none()
                            && provided.iter().any(|name| name.0[0].name == relation.name))
                })
            });
            assert!(met, "{} {}: {dependency}", package.name, package.version);
        }
    }
}
