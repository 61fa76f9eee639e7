//! Which kernel this is.
//!
//! Source: uname(2). Distributions carry newer things back to older kernels, so a version proves only that something
//! is there.

/// Its release, such as `6.1.0-38-amd64`.
pub(super) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Major and minor number of a release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_version() {
        for (release, expected) in
            [("6.1.0-38-amd64", Some((6, 1))), ("6.18", Some((6, 18))), ("generic", None), ("", None)]
        {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("5.15.0-91-generic") < Some((6, 8)));
    }
}
