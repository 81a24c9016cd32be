//! Passwords become hashes as soon as they are met.

/// Twenty times what crypt(5) does unless told: a tenth of a second for each guess at the password.
const ROUNDS: usize = 100_000;

/// A password's hash as crypt(5) has it: SHA-512 with a salt of its own. Takes a moment, on purpose; nothing if no salt can be drawn.
pub fn hash_password(password: &str) -> Option<String> {
    sha_crypt::sha512_simple(password, &sha_crypt::Sha512Params::new(ROUNDS).ok()?).ok()
}
