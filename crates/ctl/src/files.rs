//! Files that nobody else may read: keys of certificates and passwords stand in them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Opens a file to write it anew. One that exists, which may be a pipe, keeps its mode.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Puts a text in the place of a file, whole or not at all; the file keeps its mode.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // What a link names is replaced, and not the link.
    let path = fs::canonicalize(path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut fresh = tempfile::NamedTempFile::new_in(directory)?;
    fresh.write_all(text.as_bytes())?;
    fresh.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
    fresh.as_file().sync_all()?;
    fresh.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn files_are_private_and_keep_their_mode() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        create_private(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, "text").unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("text", 0o640));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "nothing is left beside it");
    }
}
