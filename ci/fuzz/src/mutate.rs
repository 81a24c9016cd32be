//! Mutations of seeds, the same ones on every run and machine.

/// Bytes on which length fields and text formats turn.
const EDGES: [u8; 16] =
    [0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b'"', b'/', b'.', b'-', b'=', b':', b',', b'0', b'9'];

/// Makes inputs out of seeds.
pub struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutator<'a> {
    /// Begins with these seeds, of which there is at least one.
    pub fn new(seeds: &'a [Vec<u8>]) -> Self {
        assert!(!seeds.is_empty(), "there is something to begin with");
        Self { seeds, state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The next input: a seed with one to eight changes.
    pub fn mutated(&mut self) -> Vec<u8> {
        let mut bytes = self.seed().to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = at + self.below((bytes.len() - at).min(64) + 1);
        match self.below(8) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                let edge = EDGES[self.below(EDGES.len())];
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = edge;
                }
            }
            2 => bytes.insert(at, EDGES[self.below(EDGES.len())]),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            5 => bytes.truncate(at),
            6 => {
                let other = self.seed();
                let from = self.below(other.len() + 1);
                let to = from + self.below((other.len() - from).min(64) + 1);
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            _ => {
                let fill = EDGES[self.below(EDGES.len())];
                bytes[at..end].fill(fill);
            }
        }
    }

    fn seed(&mut self) -> &'a [u8] {
        let seeds = self.seeds;
        &seeds[self.below(seeds.len())]
    }

    /// A number below `end`, which is not 0. xorshift64: enough to choose, the same everywhere.
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % end as u64) as usize
    }
}
