//! What any bytes may be handed to. For the targets in `fuzz/`, and for the tests, which replay what those have found.

use crate::{signature::fuzzing::signature, validator::fuzzing};

/// A byte that says what the rest is: a password's hash, a header's name and password, a token, a signed request.
///
/// # Panics
/// When something counts that should not. See in there.
pub fn credentials(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => fuzzing::password(data),
        1 => fuzzing::credentials(data),
        2 => fuzzing::token(data),
        _ => signature(data),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::corpus::replay;

    #[test]
    fn what_nobody_has_signed_never_counts() {
        replay("credentials", super::credentials);
    }
}
