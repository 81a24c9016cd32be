use super::*;

/// A folder with the given files, and the places in it.
fn places(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let places = Places {
        configuration: Some(folder.path().join("xenolith/config.toml")),
        apt: Some(folder.path().join("apt")),
        ..Places::default()
    };
    (folder, places)
}

fn found(files: &[(&str, &str)]) -> String {
    let (folder, places) = places(files);
    let text = match Mirrors::find(&places) {
        Ok(mirrors) => format!("{} {}", mirrors.debian, mirrors.security),
        Err(error) => format!("error: {error}"),
    };
    text.replace(&folder.path().display().to_string(), "")
}

fn asked(mirror: &str, security: Option<&str>) -> String {
    let places = Places {
        mirror: Some(mirror.to_owned()),
        security_mirror: security.map(str::to_owned),
        ..places(&[("apt/sources.list", "deb http://other.example/debian trixie main")]).1
    };
    match Mirrors::find(&places) {
        Ok(mirrors) => format!("{} {}", mirrors.debian, mirrors.security),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn the_command_line_decides_and_security_lies_beside() {
    let both = "https://mirror.example/debian/ https://mirror.example/debian-security/";
    assert_eq!(asked("https://mirror.example/debian", None), both);
    assert_eq!(asked("https://mirror.example/debian///", None), both);
    assert_eq!(
        asked("http://mirror.example:8080/pub/debian/", Some("file:///srv/security")),
        "http://mirror.example:8080/pub/debian/ file:///srv/security/"
    );
}

#[test]
fn what_cannot_be_a_mirror_is_refused() {
    for bad in [
        "mirror.example/debian",
        "ftp://mirror.example/debian",
        "",
        "data:x",
        "http://mirror.example/debian?a",
    ] {
        assert!(asked(bad, None).contains("is no URL of a mirror"), "{bad}");
    }
    assert!(
        asked("https://mirror.example/snapshot/20260101T000000Z/", None).contains("--security-mirror URL")
    );
    let alone = Places { security_mirror: Some("https://mirror.example/".into()), ..Places::default() };
    assert!(matches!(Mirrors::find(&alone), Err(MirrorError::SecurityAlone)));
}

#[test]
fn the_configuration_comes_before_apt() {
    let apt = ("apt/sources.list", "deb http://apt.example/debian trixie main");
    let config = |text| found(&[apt, ("xenolith/config.toml", text)]);
    assert_eq!(
        config("[mirror]\ndebian = \"https://mirror.example/debian\"\n"),
        "https://mirror.example/debian/ https://mirror.example/debian-security/"
    );
    assert_eq!(
        config("[mirror]\ndebian = \"https://mirror.example/a\"\nsecurity = \"https://mirror.example/b\"\n"),
        "https://mirror.example/a/ https://mirror.example/b/"
    );
    assert_eq!(config("[other]\nx = 1\n"), "http://apt.example/debian/ http://apt.example/debian-security/");
    assert_eq!(
        config("[mirror]\nubuntu = \"https://mirror.example\"\n"),
        "error: /xenolith/config.toml is not a configuration that we know"
    );
    assert!(
        config("[mirror]\ndebian = \"x\"\n").starts_with("error: /xenolith/config.toml: \"x\" is no URL")
    );
}

#[test]
fn both_forms_of_apt_sources_are_read() {
    assert_eq!(
        found(&[(
            "apt/sources.list",
            "# deb http://commented.example/debian trixie main\n\
             deb-src http://source.example/debian trixie main\n\
             deb cdrom:[Debian]/ trixie main\n\
             deb [arch=amd64 signed-by=/x y] http://mirror.example/debian/ bookworm main # comment\n\
             deb\thttp://security.example/debian-security bookworm-security main\n"
        )]),
        "http://mirror.example/debian/ http://security.example/debian-security/"
    );
    assert_eq!(
        found(&[
            (
                "apt/sources.list.d/a.sources",
                "Types: deb\nURIs: https://tool.example/apt\nSuites: x\nComponents: y\n"
            ),
            (
                "apt/sources.list.d/debian.sources",
                "Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: trixie\n\n\
                 # comment\nTypes: deb deb-src\n# within\nuris:\n http://mirror.example/debian\n http://b.example/debian\n\
                 Suites: trixie\n\nTypes: deb\nURIs: http://mirror.example/debian-security\n"
            ),
            ("apt/sources.list.d/z.list.disabled", "deb http://off.example/debian trixie main"),
        ]),
        "http://mirror.example/debian/ http://mirror.example/debian-security/"
    );
}

#[test]
fn without_any_mirror_the_error_says_what_to_set() {
    let error = found(&[("apt/sources.list", "deb http://mirror.example/ubuntu noble main")]);
    assert_eq!(
        error,
        "error: no mirror of Debian is known; give one with --mirror URL, or write it to /xenolith/config.toml as\n  \
         [mirror]\n  debian = \"https://…/debian\""
    );
    assert!(found(&[]).starts_with("error: no mirror"));
}

#[test]
fn paths_go_below_the_root_of_their_archive() {
    let (_folder, places) =
        places(&[("apt/sources.list", "deb http://mirror.example/pub/debian trixie main")]);
    let mirrors = Mirrors::find(&places).unwrap();
    let file = mirrors.file(Archive::DebianSecurity, "pool/main/x/xen/xen_4.20+1~2.dsc");
    assert_eq!(file.as_str(), "http://mirror.example/pub/debian-security/pool/main/x/xen/xen_4.20+1~2.dsc");
}
