//! Values of the registry, below HKEY_LOCAL_MACHINE, and of the user's own settings.
//!
//! Source: `RegGetValueW`. A value that is not there is none; one of another type than asked for is an error.

use std::io;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_NO_MORE_ITEMS, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, KEY_QUERY_VALUE, REG_DWORD, REG_ROUTINE_FLAGS, REG_SZ,
    RRF_RT_REG_DWORD, RRF_RT_REG_MULTI_SZ, RegCloseKey, RegEnumValueW, RegGetValueW, RegOpenKeyExW,
};

use super::buffer::{Buffer, error};
use super::wide;

/// Values of one key that are looked at.
const MOST_VALUES: u32 = 10_000;

/// A number.
pub(super) fn number(key: &str, value: &str) -> io::Result<Option<u32>> {
    let Some(buffer) = read(key, value, RRF_RT_REG_DWORD)? else { return Ok(None) };
    Ok(buffer.bytes().first_chunk().map(|bytes| u32::from_le_bytes(*bytes)))
}

/// A list of texts.
pub(super) fn texts(key: &str, value: &str) -> io::Result<Option<Vec<String>>> {
    let Some(buffer) = read(key, value, RRF_RT_REG_MULTI_SZ)? else { return Ok(None) };
    let units: Vec<u16> =
        buffer.bytes().as_chunks().0.iter().map(|bytes: &[u8; 2]| u16::from_le_bytes(*bytes)).collect();
    Ok(Some(units.split(|unit| *unit == 0).filter(|text| !text.is_empty()).map(wide::text).collect()))
}

/// A key that is open for reading.
struct Key(HKEY);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key is open and owned by this value alone.
        unsafe { RegCloseKey(self.0) };
    }
}

/// The names and texts of a key's values that are texts; none where there is no such key.
pub(super) fn named_texts(key: &str) -> io::Result<Vec<(String, String)>> {
    Ok(named_values(HKEY_LOCAL_MACHINE, key)?
        .into_iter()
        .filter(|(_, value)| !value.is_number)
        .map(told)
        .collect())
}

/// The same of a key of the user's own, with numbers in decimal.
pub(super) fn named_texts_of_user(key: &str) -> io::Result<Vec<(String, String)>> {
    Ok(named_values(HKEY_CURRENT_USER, key)?.into_iter().map(told).collect())
}

fn told((name, value): (String, Named)) -> (String, String) {
    (name, value.text)
}

/// A value that is a text or a number.
struct Named {
    is_number: bool,
    text: String,
}

fn named_values(root: HKEY, key: &str) -> io::Result<Vec<(String, Named)>> {
    let path = wide::zero_ended(key);
    let mut opened = std::ptr::null_mut();
    // SAFETY: the path ends with a zero, and `opened` is where the function may write one key.
    let code = unsafe { RegOpenKeyExW(root, path.as_ptr(), 0, KEY_QUERY_VALUE, &raw mut opened) };
    match code {
        ERROR_SUCCESS => {}
        ERROR_FILE_NOT_FOUND => return Ok(Vec::new()),
        code => return Err(error(code)),
    }
    let opened = Key(opened);
    let mut values = Vec::new();
    for index in 0..MOST_VALUES {
        let (mut name, mut data) = ([0_u16; 1024], [0_u16; 4096]);
        let (mut name_length, mut data_length) = (name.len() as u32, size_of_val(&data) as u32);
        let mut kind = 0;
        // SAFETY: the key is open; name and data have the lengths that are handed over.
        let code = unsafe {
            RegEnumValueW(
                opened.0,
                index,
                name.as_mut_ptr(),
                &raw mut name_length,
                std::ptr::null(),
                &raw mut kind,
                data.as_mut_ptr().cast(),
                &raw mut data_length,
            )
        };
        match code {
            ERROR_SUCCESS if kind == REG_SZ => {
                values.push((wide::text(&name), Named { is_number: false, text: wide::text(&data) }));
            }
            ERROR_SUCCESS if kind == REG_DWORD => {
                let text = (u32::from(data[0]) | u32::from(data[1]) << 16).to_string();
                values.push((wide::text(&name), Named { is_number: true, text }));
            }
            ERROR_SUCCESS => {}
            ERROR_NO_MORE_ITEMS => break,
            code => return Err(error(code)),
        }
    }
    Ok(values)
}

fn read(key: &str, value: &str, kind: REG_ROUTINE_FLAGS) -> io::Result<Option<Buffer>> {
    let (key, value) = (wide::zero_ended(key), wide::zero_ended(value));
    let mut code = ERROR_SUCCESS;
    let buffer = Buffer::filled(|pointer, size| {
        // SAFETY: both names end with a zero; the buffer has the size that stands in `size`.
        code = unsafe {
            RegGetValueW(
                HKEY_LOCAL_MACHINE,
                key.as_ptr(),
                value.as_ptr(),
                kind,
                std::ptr::null_mut(),
                pointer,
                &raw mut *size,
            )
        };
        code
    });
    match (buffer, code) {
        (Ok(buffer), _) => Ok(Some(buffer)),
        (Err(_), ERROR_FILE_NOT_FOUND) => Ok(None),
        (Err(_), code) => Err(error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";

    #[test]
    fn values_are_read_by_their_type_and_missing_ones_are_none() {
        assert_eq!(number(VERSION, "CurrentMajorVersionNumber").unwrap(), Some(10));
        assert_eq!(number(VERSION, "NoSuchValue").unwrap(), None);
        assert_eq!(number(r"SOFTWARE\No\Such\Key", "Value").unwrap(), None);
        assert!(number(VERSION, "ProductName").is_err(), "a text is no number");
        assert_eq!(texts(VERSION, "NoSuchValue").unwrap(), None);
    }

    #[test]
    fn the_texts_of_a_key_come_with_their_names() {
        let values = named_texts(VERSION).unwrap();
        assert!(values.iter().any(|(name, text)| name == "ProductName" && text.contains("Windows")));
        assert!(values.iter().all(|(name, _)| name != "CurrentMajorVersionNumber"), "no text");
        assert_eq!(named_texts(r"SOFTWARE\No\Such\Key").unwrap(), []);
    }
}
