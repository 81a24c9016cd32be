//! GUIDs: what kind of partition one is, and one name for each thing that needs a unique one.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid, uuid};

/// What a partition is for, as its GPT entry says it.
///
/// ESP and BIOS boot have the well-known GUIDs, since firmware and GRUB look for those. Root, verity, state and SR
/// have GUIDs of our own:
/// - The types of the Discoverable Partitions Specification (root, root-verity, var, …) would have
///   systemd-gpt-auto-generator set up and mount what it finds, by rules that know nothing of our slots or
///   of Xen; with two roots on a disk it would even pick one of them.
/// - The generic Linux type is what systemd's image dissection (systemd 257) takes for a root file system if the
///   disk has just one such partition, and what other systems' installers offer to mount or to format.
///
/// An unknown type is left alone by all of them. Nothing of ours depends on the type alone: partitions are found by
/// their label on the disk that was booted from, and the root by its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeGuid(Uuid);

impl TypeGuid {
    /// EFI system partition (UEFI 2.10 §5.3.3).
    pub const ESP: Self = Self(uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));
    /// Where GRUB keeps its core image on a GPT disk.
    pub const BIOS_BOOT: Self = Self(uuid!("21686148-6449-6e6f-744e-656564454649"));
    /// The root image of a slot.
    pub const ROOT: Self = Self(uuid!("dfa8f448-2d5d-4c39-b5ea-8e2a77d50ded"));
    /// The verity tree of a slot.
    pub const VERITY: Self = Self(uuid!("8fa5603b-4a0d-4aa2-8e0a-04fdbb344828"));
    /// The state partition.
    pub const STATE: Self = Self(uuid!("08b8493f-fa78-46fc-8ac0-1fa9bc632815"));
    /// The reserved area of a medium ([`crate::reserved`]). Nobody but us looks for it, so no system mounts or mends it by itself.
    pub const RESERVED: Self = Self(uuid!("1bd94ae6-6e0f-4d8e-a6a8-6a3f5c8f7b11"));
    /// The local storage repository.
    pub const LOCAL_SR: Self = Self(uuid!("69903a4e-1044-44d8-8022-583d11af18e2"));

    /// The GUID itself.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for TypeGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TypeGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeGuid({})", self.0)
    }
}

/// Where unique identifiers come from: the same seed and purpose give the same identifier, so that two builds of
/// one recipe are equal byte for byte. An installer takes a random seed, so that no two disks share a GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The GUID for `purpose`, such as a partition's label. UUID version 8, RFC 9562 variant.
    pub fn guid(&self, purpose: &str) -> Uuid {
        let hash = self.derive("guid", purpose);
        let (head, _) = hash.split_at(16);
        Builder::from_custom_bytes(head.try_into().expect("16 bytes make a UUID")).into_uuid()
    }

    /// The FAT volume id for `purpose`.
    pub fn volume_id(&self, purpose: &str) -> u32 {
        let [a, b, c, d, ..] = self.derive("fat", purpose);
        u32::from_le_bytes([a, b, c, d])
    }

    /// A seed of its own for one of several disks that are planned together.
    pub fn child(&self, name: &str) -> Self {
        Self(self.derive("seed", name))
    }

    fn derive(&self, kind: &str, purpose: &str) -> [u8; 32] {
        let domain = format!("xenolith {kind} v1\0");
        Sha256::new().chain_update(domain).chain_update(self.0).chain_update(purpose).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Variant;

    #[test]
    fn equal_seeds_give_equal_guids_and_other_purposes_other_ones() {
        let seed = Seed::new([7; 32]);
        // Frozen: a change here gives every rebuilt image other bytes.
        assert_eq!(seed.guid("xenolith-esp").to_string(), "f13b61b7-675d-850e-9cb2-9dca6c486e7f");
        assert_eq!(seed.guid("xenolith-esp"), Seed::new([7; 32]).guid("xenolith-esp"));
        assert_ne!(seed.guid("xenolith-esp"), seed.guid("xenolith-state"));
        assert_ne!(seed.guid("xenolith-esp"), Seed::new([8; 32]).guid("xenolith-esp"));
        assert_ne!(seed.volume_id("a"), seed.volume_id("b"));
    }

    #[test]
    fn derived_guids_have_the_shape_of_version_8() {
        let guid = Seed::new([7; 32]).guid("xenolith-esp");
        assert_eq!((guid.get_version_num(), guid.get_variant()), (8, Variant::RFC4122));
    }
}
