//! What any bytes may be handed to. For the targets in `fuzz/`, and for the tests, which replay what those have found.

use crate::data_dir::Identity;

/// The file `FORMAT` of a data directory.
///
/// # Panics
/// When a file is read that would not be written so.
pub fn format_file(data: &[u8]) {
    if let Some(identity) = Identity::decode(&String::from_utf8_lossy(data)) {
        assert!(identity.encode().eq_ignore_ascii_case(&String::from_utf8_lossy(data)));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn format_files_survive_and_come_back() {
        tidegate_testkit::corpus::replay("format_file", super::format_file);
    }
}
