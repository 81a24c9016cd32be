//! Stand-in until the boot file crate has these.
use sha2::{Digest, Sha256};

#[derive(Debug, thiserror::Error)]
#[error("not a PE file")]
pub struct PeError;

fn u32_at(pe: &[u8], at: usize) -> Result<usize, PeError> {
    let b = pe.get(at..at + 4).ok_or(PeError)?;
    Ok(u32::from_le_bytes(b.try_into().map_err(|_| PeError)?) as usize)
}

pub fn authenticode_digest(pe: &[u8]) -> Result<[u8; 32], PeError> {
    let coff = u32_at(pe, 0x3c)?;
    let sum = coff + 24 + 64;
    let dir = coff + 24 + 112 + 32;
    let end = match u32_at(pe, dir)? {
        0 => pe.len(),
        n => n,
    };
    let mut h = Sha256::new();
    h.update(pe.get(..sum).ok_or(PeError)?);
    h.update(pe.get(sum + 4..dir).ok_or(PeError)?);
    h.update(pe.get(dir + 8..end).ok_or(PeError)?);
    h.update(vec![0; end.next_multiple_of(8) - end]);
    Ok(h.finalize().into())
}

pub fn attach_signature(pe: &[u8], der: &[u8]) -> Result<Vec<u8>, PeError> {
    let coff = u32_at(pe, 0x3c)?;
    let dir = coff + 24 + 112 + 32;
    let mut out = pe.to_vec();
    out.resize(out.len().next_multiple_of(8), 0);
    let start = match u32_at(pe, dir)? {
        0 => out.len(),
        n => n,
    };
    let len = (8 + der.len()).next_multiple_of(8);
    out.extend((len as u32).to_le_bytes());
    out.extend([0, 2, 2, 0]);
    out.extend(der);
    out.resize(out.len().next_multiple_of(8), 0);
    let total = (out.len() - start) as u32;
    out[dir..dir + 4].copy_from_slice(&(start as u32).to_le_bytes());
    out[dir + 4..dir + 8].copy_from_slice(&total.to_le_bytes());
    Ok(out)
}
