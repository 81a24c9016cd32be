//! The medium of a machine that was started over the network: the folder that its root came from.
//!
//! ```text
//!   boot.json: boot_url ─▶ netboot.json ─ is it about the very root that runs? ─▶ boot file, loader, keys ─ sizes and sums fit?
//!   root image, verity tree: the copies in RAM that this system runs from                └─▶ does the boot file start this root?
//! ```
//! **What is believed of the server**: nothing about the root, which is written from the copy that verity proves and read back against
//! the root hash. Loader and boot file are what the server sends: their sums come from the same server and show only a mix-up or a
//! cut. What stands for them is the firmware, which checks the signatures of both at the next start, where Secure Boot is on; where it
//! is off, the server (and whoever is between) could have started anything on this machine already. `docs/netboot.md` says the same.

use std::io::Cursor;

use anyhow::{Context as _, ensure};
use nix::poll::{PollTimeout, poll};
use xenolith_disk::esp::{EspContent, EspFile};
use xenolith_init::net::{
    http::{self, Size},
    url::Base,
};
use xenolith_installer::Image;
use xenolith_layout::{
    Bytes,
    names::{
        ESP_ENROLMENT, ESP_ENTRIES, ESP_FALLBACK_LOADER, ESP_LOADER, EntryName, NETBOOT_BOOT_FILE,
        NETBOOT_LOADER, NETBOOT_MANIFEST, TRIES,
    },
};
use xenolith_netboot::{FileFacts, MAX_MANIFEST, Manifest, boots};

/// A folder on an HTTP server.
#[derive(Clone)]
pub struct Origin(Base);

impl Origin {
    /// The folder with this URL.
    ///
    /// # Errors
    /// When it is no URL that a root could have come from.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self(url.parse().context("the boot facts name no folder on a server")?))
    }

    /// Loader, boot file and keys for the ESP of an installed host. Tells how many bytes are here, of how many.
    ///
    /// # Errors
    /// When one of them cannot be fetched, or is not what belongs to the running system.
    pub fn esp(&self, image: &Image, tell: &mut dyn FnMut(Bytes, Bytes)) -> anyhow::Result<Vec<EspFile>> {
        let manifest = self.manifest(image)?;
        let keys: Vec<_> =
            manifest.files.keys().filter_map(|name| Some((name.key()?, name.as_str()))).collect();
        let wanted =
            [NETBOOT_LOADER, NETBOOT_BOOT_FILE].into_iter().chain(keys.iter().map(|(_, name)| *name));
        let sizes = wanted.filter_map(|name| Some(manifest.file(name)?.1.size.get()));
        let total = Bytes::new(sizes.fold(0, u64::saturating_add));
        let mut before = 0;
        tell(Bytes::ZERO, total);
        let mut take = |name: &str| {
            let bytes =
                self.file(&manifest, name, &mut |done| tell(Bytes::new(before + done.get()), total))?;
            before += bytes.len() as u64;
            anyhow::Ok(bytes)
        };
        let mut files = Vec::new();
        let mut put =
            |path: String, bytes: Vec<u8>| files.push(EspFile { path, content: EspContent::Bytes(bytes) });
        let loader = take(NETBOOT_LOADER)?;
        put(ESP_FALLBACK_LOADER.into(), loader.clone());
        put(ESP_LOADER.into(), loader);
        let boot_file = take(NETBOOT_BOOT_FILE)?;
        boots(&boot_file, &image.root_hash, &image.version)
            .with_context(|| format!("{}{NETBOOT_BOOT_FILE} is not installed", self.0))?;
        put(format!("{ESP_ENTRIES}/{}", EntryName::offered(image.version.clone(), TRIES)), boot_file);
        for (key, name) in keys {
            put(format!("{ESP_ENROLMENT}/{key}"), take(name)?);
        }
        Ok(files)
    }

    fn manifest(&self, image: &Image) -> anyhow::Result<Manifest> {
        let text =
            self.fetch(NETBOOT_MANIFEST, Size::AtMost(Bytes::new(MAX_MANIFEST as u64)), &mut |_| ())?;
        let url = format!("{}{NETBOOT_MANIFEST}", self.0);
        let manifest = Manifest::parse(&text).with_context(|| format!("{url} is refused"))?;
        ensure!(
            manifest.root_hash == image.root_hash && manifest.version == image.version,
            "{url} is about version {} with root hash {}, and this machine runs version {} with {}; start it from the network again",
            manifest.version,
            manifest.root_hash,
            image.version,
            image.root_hash
        );
        Ok(manifest)
    }

    fn file(&self, manifest: &Manifest, name: &str, tell: &mut dyn FnMut(Bytes)) -> anyhow::Result<Vec<u8>> {
        let (_, expected) = manifest.file(name).with_context(|| format!("the manifest names no {name}"))?;
        let bytes = self.fetch(name, Size::Exactly(expected.size), tell)?;
        let found = FileFacts::of(bytes.as_slice())?;
        ensure!(
            found == expected,
            "{}{name} has the sum {}, and its manifest says {}",
            self.0,
            found.sha256,
            expected.sha256
        );
        Ok(bytes)
    }

    fn fetch(&self, name: &str, size: Size, tell: &mut dyn FnMut(Bytes)) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        http::fetch(&self.0, name, size, &mut bytes, pause, |done, _| tell(done))
            .with_context(|| format!("the server that this machine was started from does not give {name}"))?;
        Ok(bytes.into_inner())
    }
}

/// Waits before the next attempt: no event says when a server is well again.
fn pause(attempt: u32) {
    let seconds = u16::try_from(attempt.min(30)).unwrap_or(30);
    let _ = poll(&mut [], PollTimeout::from(seconds * 2000));
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
    };

    use xenolith_netboot::testing;

    use super::*;

    /// A server of these files that lives as long as the test.
    fn serve(files: BTreeMap<String, Vec<u8>>) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/rack/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let name = line.split(' ').nth(1).unwrap().trim_start_matches("/rack/").to_owned();
                let head = match files.get(&name) {
                    Some(bytes) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()),
                    None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                // The other side may have seen enough from the head.
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(files.get(&name).map_or(&[][..], Vec::as_slice));
            }
        });
        Origin::new(&url).unwrap()
    }

    fn image() -> Image {
        let (root_hash, version) = (testing::root_hash(), testing::version());
        Image { version, root_hash, root: Bytes::mib(3), verity: Bytes::kib(32) }
    }

    fn refused(change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> String {
        let mut files = testing::set();
        change(&mut files);
        let Err(error) = serve(files).esp(&image(), &mut |_, _| ()) else { panic!("it was taken") };
        format!("{error:#}")
    }

    /// Puts a file into a set so that its manifest fits to it.
    fn put(files: &mut BTreeMap<String, Vec<u8>>, name: &str, bytes: Vec<u8>) {
        let mut manifest = Manifest::parse(&files[NETBOOT_MANIFEST]).unwrap();
        let own = manifest.file(name).unwrap().0.clone();
        manifest.files.insert(own, FileFacts::of(bytes.as_slice()).unwrap());
        files.insert(NETBOOT_MANIFEST.into(), manifest.render().into_bytes());
        files.insert(name.into(), bytes);
    }

    #[test]
    fn loader_boot_file_and_keys_come_from_the_server() {
        let mut told = Vec::new();
        let found = serve(testing::set()).esp(&image(), &mut |done, total| told.push((done, total))).unwrap();
        assert!(told.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 == pair[1].1), "{told:?}");
        assert_eq!(told.first().unwrap().0, Bytes::ZERO);
        let names: Vec<&str> = found.iter().map(|file| file.path.as_str()).collect();
        let expected = [
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/systemd/systemd-bootx64.efi",
            "EFI/Linux/xenolith_0.1.0+20260101.1+3-0.efi",
            "loader/keys/xenolith/PK.auth",
        ];
        assert_eq!(names, expected);
        let EspContent::Bytes(boot_file) = &found[2].content else { panic!("no bytes") };
        assert!(*boot_file == testing::set()[NETBOOT_BOOT_FILE]);
    }

    #[test]
    fn a_server_with_another_version_is_refused() {
        let said = refused(|files| {
            let mut manifest = Manifest::parse(&files[NETBOOT_MANIFEST]).unwrap();
            manifest.version = "0.2.0".parse().unwrap();
            files.insert(NETBOOT_MANIFEST.into(), manifest.render().into_bytes());
        });
        assert!(
            said.contains("is about version 0.2.0") && said.contains("start it from the network again"),
            "{said}"
        );
    }

    #[test]
    fn a_boot_file_for_another_root_is_refused_though_its_sum_fits() {
        let other = testing::boot_file(&xenolith_layout::RootHash::new([9; 32]), &testing::version());
        let said = refused(|files| put(files, NETBOOT_BOOT_FILE, other));
        assert!(
            said.contains("xenolith.efi is not installed") && said.contains("xenolith.roothash"),
            "{said}"
        );
    }

    #[test]
    fn changed_cut_and_missing_files_are_refused() {
        let said = refused(|files| files.get_mut(NETBOOT_LOADER).unwrap()[0] ^= 1);
        assert!(said.contains("systemd-bootx64.efi has the sum"), "{said}");
        let said = refused(|files| files.get_mut(NETBOOT_LOADER).unwrap().truncate(5));
        assert!(said.contains("systemd-bootx64.efi is 5 bytes long"), "{said}");
        let said = refused(|files| drop(files.remove(NETBOOT_MANIFEST)));
        assert!(said.contains("does not give netboot.json") && said.contains("404"), "{said}");
    }

    #[test]
    fn only_a_plain_folder_can_be_an_origin() {
        assert!(Origin::new("https://h/").is_err());
        assert!(Origin::new("file:///etc").is_err());
    }
}
