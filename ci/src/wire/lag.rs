//! The switch's side of links that are one: it agrees to whatever a bond asks for by LACP, and has one VLAN, tagged.
//!
//! Source: IEEE 802.1AX-2020, section 6.4.2.3 ("LACPDU structure and encoding"); IEEE 802.1Q-2022, section 9.6 ("VLAN Tag Control
//! Information"). A frame begins with the addresses of receiver and sender, 6 bytes each, then its type.

/// The address of the switch, and of each of its ports but for the last byte.
pub const SWITCH: [u8; 6] = [0x02, 0x58, 0x4e, 0, 0, 0];

/// Receiver of the protocols between neighbours that no switch passes on.
const SLOW_PROTOCOLS: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 2];
const SLOW_TYPE: [u8; 2] = [0x88, 0x09];
const VLAN_TYPE: [u8; 2] = [0x81, 0];
/// Where the type stands, and what follows it.
const TYPE: usize = 12;
const BODY: usize = 14;
/// An LACPDU with its frame, without a checksum.
const PDU: usize = BODY + 110;
/// What one side says of itself: a type, a length, and 18 bytes.
const ACTOR: usize = BODY + 2;
const PARTNER: usize = ACTOR + INFORMATION;
const COLLECTOR: usize = PARTNER + INFORMATION;
const INFORMATION: usize = 20;
/// Active, wants to hear each second, may be aggregated, is in step, collects and distributes.
const STATE: u8 = 0b0011_1111;
/// Links with the same key may be one.
const KEY: u16 = 1;

/// What a switch answers on this link to an LACPDU; nothing to another frame.
pub fn answer(link: u8, frame: &[u8]) -> Option<Vec<u8>> {
    let is_lacp = frame.len() >= PDU && frame[TYPE..BODY] == SLOW_TYPE && frame[BODY] == 1;
    if !is_lacp {
        return None;
    }
    let mut pdu = vec![0; PDU];
    pdu[..6].copy_from_slice(&SLOW_PROTOCOLS);
    pdu[6..TYPE].copy_from_slice(&SWITCH);
    pdu[TYPE - 1] = link + 1;
    pdu[TYPE..BODY].copy_from_slice(&SLOW_TYPE);
    // LACP, version 1.
    pdu[BODY..ACTOR].copy_from_slice(&[1, 1]);
    let mut own = vec![1, 20];
    own.extend(0x8000_u16.to_be_bytes());
    own.extend(SWITCH);
    own.extend(KEY.to_be_bytes());
    own.extend(0x8000_u16.to_be_bytes());
    own.extend((u16::from(link) + 1).to_be_bytes());
    own.extend([STATE, 0, 0, 0]);
    pdu[ACTOR..PARTNER].copy_from_slice(&own);
    // The other side as it has told of itself: that is how it knows that we mean each other.
    pdu[PARTNER..COLLECTOR].copy_from_slice(&frame[ACTOR..PARTNER]);
    pdu[PARTNER] = 2;
    pdu[COLLECTOR..COLLECTOR + 2].copy_from_slice(&[3, 16]);
    Some(pdu)
}

/// The frame with the tag of a VLAN.
pub fn tagged(vlan: u16, frame: &[u8]) -> Vec<u8> {
    let addresses = frame.len().min(TYPE);
    [&frame[..addresses], &VLAN_TYPE, &vlan.to_be_bytes(), &frame[addresses..]].concat()
}

/// The frame without the tag of this VLAN; nothing if it is of another one, or of none.
pub fn untagged(vlan: u16, frame: &[u8]) -> Option<Vec<u8>> {
    let tag = frame.get(TYPE..TYPE + 4)?;
    // The upper four bits are a priority.
    let found = u16::from_be_bytes([tag[2], tag[3]]) & 0x0fff;
    (tag[..2] == VLAN_TYPE && found == vlan).then(|| [&frame[..TYPE], &frame[TYPE + 4..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux's bonding sends it first: it knows nothing of a partner.
    fn asked() -> Vec<u8> {
        let mut pdu = [&SLOW_PROTOCOLS[..], &[0x52, 0x54, 0, 0x12, 0x34, 0x57], &SLOW_TYPE, &[1, 1]].concat();
        pdu.extend([1, 20, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 15, 0, 255, 0, 2, 0x4f, 0, 0, 0]);
        pdu.extend([2, 20]);
        pdu.resize(PDU, 0);
        pdu
    }

    #[test]
    fn each_link_says_that_it_is_one_of_the_same_switch() {
        let (first, second) = (answer(0, &asked()).unwrap(), answer(1, &asked()).unwrap());
        assert_eq!((first.len(), second.len()), (124, 124));
        assert_eq!((first[11], second[11]), (1, 2), "addresses of the ports");
        // System and key are equal, the numbers of the ports are not.
        assert_eq!(first[ACTOR..ACTOR + 14], second[ACTOR..ACTOR + 14]);
        assert_eq!((first[ACTOR + 15], second[ACTOR + 15]), (1, 2));
        assert_eq!(first[ACTOR + 16], 0x3f);
    }

    #[test]
    fn it_tells_the_other_side_what_it_has_heard_of_it() {
        let (heard, told) = (asked(), answer(0, &asked()).unwrap());
        assert_eq!(told[PARTNER..PARTNER + 2], [2, 20]);
        assert_eq!(told[PARTNER + 2..COLLECTOR], heard[ACTOR + 2..PARTNER]);
        assert_eq!(told[COLLECTOR..COLLECTOR + 2], [3, 16]);
    }

    #[test]
    fn other_frames_and_parts_of_one_are_not_answered() {
        let mut marker = asked();
        marker[BODY] = 2;
        assert_eq!(answer(0, &marker), None);
        assert_eq!(answer(0, &asked()[..PDU - 1]), None);
        assert_eq!(answer(0, &[0; 200]), None);
    }

    #[test]
    fn a_tag_comes_and_goes() {
        let frame: Vec<u8> = (0..60).collect();
        let tag = tagged(120, &frame);
        assert_eq!(tag[TYPE..TYPE + 4], [0x81, 0, 0, 120]);
        assert_eq!(untagged(120, &tag).as_deref(), Some(&frame[..]));
        assert_eq!((untagged(121, &tag), untagged(120, &frame), untagged(120, &[])), (None, None, None));
    }
}
