//! placeholder until the settings branch lands
pub(crate) fn within<T: Send>(
    _: &crate::Namespace,
    work: impl FnOnce() -> T + Send,
) -> Result<T, crate::Error> {
    Ok(work())
}
