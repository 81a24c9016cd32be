use super::*;
use proptest::prelude::*;
use sha2::Sha256;

/// Blocks that all differ: the block number, over and over.
fn data(blocks: u64) -> Vec<u8> {
    (0..blocks).map(|block| block.to_le_bytes().repeat(BLOCK / 8)).collect::<Vec<_>>().concat()
}

fn tree_of(data: &[u8]) -> (RootHash, Vec<u8>) {
    let mut out = Vec::new();
    let root = build(&mut &*data, Bytes::new(data.len() as u64), &mut out).unwrap();
    (root, out)
}

/// Root hashes and SHA-256 sums of whole trees as veritysetup 2.7.5 made them; see `tests/veritysetup.rs`.
#[test]
fn trees_are_those_of_veritysetup() {
    let golden = include_str!("../tests/golden.txt");
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let [blocks, root, sum] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (found, tree) = tree_of(&data(blocks.parse().unwrap()));
        assert_eq!(found.to_string(), root, "{blocks} blocks");
        assert_eq!(format!("{:x}", Sha256::digest(&tree)), sum, "{blocks} blocks");
    }
    assert_eq!(golden.lines().filter(|line| !line.starts_with('#')).count(), 6);
}

#[test]
fn a_tree_is_as_long_as_its_shape_says() {
    for blocks in [1, 2, 127, 128, 129, 16384, 16385] {
        let (_, tree) = tree_of(&data(blocks));
        assert_eq!(Bytes::new(tree.len() as u64), TreeShape::of(blocks).len(), "{blocks} blocks");
    }
    assert_eq!(TreeShape::of(16385).levels, [129, 2, 1]);
    assert_eq!(TreeShape::of(1).levels, [0; 0]);
    assert!(TreeShape::of(u64::MAX).len() > Bytes::gib(1));
}

#[test]
fn data_that_are_not_whole_blocks_are_refused() {
    for len in [0, 1, 4095, 4097] {
        let result = build(&mut io::repeat(0), Bytes::new(len), &mut io::sink());
        assert!(matches!(result, Err(VerityError::Length(l)) if l.get() == len));
    }
}

#[test]
fn data_that_end_early_are_an_error() {
    let result = build(&mut io::repeat(0).take(4096), Bytes::kib(8), &mut io::sink());
    assert!(matches!(result, Err(VerityError::Read { place: Place::Data(0), .. })));
}

#[test]
fn a_whole_image_proves_itself_even_if_more_follows() {
    for blocks in [1, 2, 128, 129, 16385] {
        let data = data(blocks);
        let (root, tree) = tree_of(&data);
        let (mut data, mut tree) = ((&*data).chain(&[1_u8; 99][..]), (&*tree).chain(&[1_u8; 99][..]));
        verify(&mut data, &mut tree, &root).unwrap();
    }
}

#[test]
fn another_root_hash_is_refused_by_name_and_by_content() {
    let data = data(3);
    let (root, tree) = tree_of(&data);
    let mut bytes = *root.as_bytes();
    bytes[31] ^= 1; // the half that is not in the UUID
    let result = verify(&mut &*data, &mut &*tree, &RootHash::new(bytes));
    assert!(matches!(result, Err(VerityError::Mismatch(Place::Tree { level: 0, block: 0 }))));
    bytes[0] ^= 1;
    let result = verify(&mut &*data, &mut &*tree, &RootHash::new(bytes));
    assert!(matches!(result, Err(VerityError::Name { .. })));
}

#[test]
fn a_superblock_that_claims_more_data_than_exist_is_an_error() {
    let data = data(3);
    let (root, mut tree) = tree_of(&data);
    tree[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(verify(&mut &*data, &mut &*tree, &root).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flipped_bit_is_found_in_the_block_where_it_is(blocks in 1..300_u64, at: prop::sample::Index, bit in 0..8) {
        let mut data = data(blocks);
        let (root, tree) = tree_of(&data);
        let at = at.index(data.len());
        data[at] ^= 1_u8 << bit;
        match verify(&mut &*data, &mut &*tree, &root) {
            Err(VerityError::Mismatch(Place::Data(block))) => prop_assert_eq!(block, (at / BLOCK) as u64),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_flipped_bit_of_the_tree_goes_unnoticed(blocks in 2..300_u64, at: prop::sample::Index, bit in 0..8) {
        let data = data(blocks);
        let (root, mut tree) = tree_of(&data);
        let at = at.index(tree.len());
        prop_assume!(!(Superblock::LEN..BLOCK).contains(&at)); // means nothing to anybody
        tree[at] ^= 1_u8 << bit;
        prop_assert!(verify(&mut &*data, &mut &*tree, &root).is_err());
    }
}
