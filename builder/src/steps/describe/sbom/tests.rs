use xenolith_archive::lock::Lock;
use xenolith_store::digest_bytes;

use super::*;

const SUM: &str = "0584fba32e13e0ab8285fb16c27adea1ec03a73669c18702821094fd6ca86675";

fn locked() -> Locked {
    let package = |name: &str, group: &str| {
        format!(
            "  {{ name = \"{name}\", version = \"1:2.0+b1\", arch = \"amd64\", size = 10, sha256 = \"{SUM}\", archive = \"debian\", path = \"pool/main/x/{name}_2.0+b1_amd64.deb\", groups = [\"{group}\"] }},\n"
        )
    };
    let source = |ending: &str| {
        format!(
            "  {{ name = \"xen\", version = \"4.20-1\", size = 10, sha256 = \"{SUM}\", archive = \"debian\", path = \"pool/main/x/xen/xen_4.20{ending}\" }},\n"
        )
    };
    let text = format!(
        "format = 1\n\nsuites = [\n  {{ archive = \"debian\", suite = \"trixie\", date = \"2026-01-01T00:00:00Z\", sha256 = \"{SUM}\" }},\n]\n\ngroups = [\n  {{ name = \"dom0\", request = \"{SUM}\" }},\n]\n\npackages = [\n{}{}{}]\n\nsources = [\n{}{}]\n",
        package("dpkg", "dom0"),
        package("libstdc++6", "dom0"),
        package("metapackage", "dom0"),
        source("-1.debian.tar.xz"),
        source(".orig.tar.xz"),
    );
    let lock = Lock::parse(&text).unwrap();
    let dom0 = lock.groups.values().next().unwrap().packages.clone();
    let xen = lock.sources.iter().next().unwrap();
    Locked {
        loader: dom0.first().cloned(),
        rust_std: dom0.last().cloned(),
        dom0,
        xen: (xen.0.to_string(), xen.1.clone()),
        distro: Some("trixie".into()),
    }
}

fn package(name: &str, files: &[&str]) -> PackageFiles {
    PackageFiles {
        name: name.into(),
        source: format!("{name}-source"),
        source_version: "1:2.0".into(),
        homepage: Some("https://example.com/".into()),
        maintainer: None,
        files: files.iter().map(|file| (*file).to_owned()).collect(),
    }
}

fn made() -> Document {
    let file = |path: &str, layer: &str| FileEntry { path: path.into(), size: 1, layer: layer.into() };
    let one = |name: &str, linked, uses: &[&str]| Crate {
        name: name.into(),
        version: "1.0.0".into(),
        license: Some("MIT OR Apache-2.0".into()),
        checksum: (!name.starts_with("xenolith")).then(|| SUM.into()),
        linked,
        uses: uses.iter().map(|name| ((*name).to_owned(), "1.0.0".to_owned())).collect(),
    };
    let identity = Identity {
        id: "xenolith".into(),
        name: "Xenolith".into(),
        version: "0.1.0".into(),
        variant: "default".into(),
        revision: "c0ffee".into(),
        lock: SUM.into(),
    };
    let facts = RootFacts {
        root_hash: SUM.parse().unwrap(),
        size: 1,
        verity_size: 1,
        build_id: "0123456789abcdef".into(),
        kernel: "6.12".into(),
    };
    document(&Content {
        identity: &identity,
        locked: &locked(),
        files: &[
            package("dpkg", &["usr/bin/dpkg"]),
            package("libstdc++6", &["usr/lib/libstdc++.so.6", "usr/share/doc/x"]),
            package("metapackage", &[]),
        ],
        image: &[file("usr/lib/libstdc++.so.6", "packages"), file("usr/bin/dpkg", "overlay")],
        facts: &facts,
        root_image: digest_bytes(b"image"),
        crates: &[
            one("serde", true, &["serde_derive"]),
            one("serde_derive", false, &[]),
            one("xenolith-status", true, &["serde"]),
        ],
        patches: &[("0001-a.patch".into(), digest_bytes(b"patch"))],
    })
    .unwrap()
}

fn related(document: &Document, one: &str, relation: Relation, other: &str) -> bool {
    document.relationships.iter().any(|found| {
        found.spdx_element_id == one
            && found.relationship_type == relation
            && found.related_spdx_element == other
    })
}

#[test]
fn the_document_is_as_it_was() {
    insta::assert_snapshot!(made().render());
}

#[test]
fn what_left_no_file_in_the_image_is_not_contained() {
    let document = made();
    let image = "SPDXRef-Image";
    assert!(related(&document, image, Relation::Contains, "SPDXRef-deb-libstdc--6"));
    assert!(related(&document, image, Relation::Contains, "SPDXRef-deb-metapackage"));
    assert!(!related(&document, image, Relation::Contains, "SPDXRef-deb-dpkg"));
    assert!(related(&document, "SPDXRef-deb-dpkg", Relation::BuildDependencyOf, image));
    assert!(!related(&document, image, Relation::Contains, "SPDXRef-crate-serde-derive-1.0.0"));
}

#[test]
fn the_document_keeps_the_rules_and_survives_the_round_trip() {
    let document = made();
    document.check().unwrap();
    let read: Document = serde_json::from_str(&document.render()).unwrap();
    assert_eq!(read, document);
}

#[test]
fn every_element_hangs_together_with_the_image() {
    let document = made();
    let mut reached = BTreeSet::from(["SPDXRef-Image".to_owned()]);
    loop {
        let before = reached.len();
        for relation in &document.relationships {
            let ends = [&relation.spdx_element_id, &relation.related_spdx_element];
            if ends.iter().any(|end| reached.contains(*end)) {
                reached.extend(ends.into_iter().cloned());
            }
        }
        if reached.len() == before {
            break;
        }
    }
    for package in &document.packages {
        assert!(reached.contains(&package.id), "{}", package.id);
    }
}
