//! Tables of text: columns under groups of dashes or equals signs, and lines of comma-separated values.
//!
//! Source: RFC 4180 (quoting), PowerShell's Format-Table, tasklist. Export-Csv of a German or French Windows writes `;`
//! with `-UseCulture`.
//! Left out on purpose: values that hold a line break; nothing that is read here has any.

/// Where the columns of a table begin, in characters, by the line that underlines them: a column goes from the
/// beginning of its group to that of the next. None unless the line is nothing but groups of `mark`.
pub(crate) fn underlined(line: &str, mark: char) -> Option<Vec<usize>> {
    let mut starts = Vec::new();
    let mut before = ' ';
    for (at, character) in line.trim_end().chars().enumerate() {
        match character {
            ' ' => {}
            _ if character != mark => return None,
            _ if before == ' ' => starts.push(at),
            _ => {}
        }
        before = character;
    }
    (!starts.is_empty()).then_some(starts)
}

/// The cells of a row, trimmed: one for each column.
pub(crate) fn cells<'a>(line: &'a str, starts: &[usize]) -> Vec<&'a str> {
    let mut cuts: Vec<usize> = Vec::with_capacity(starts.len() + 1);
    let mut offsets = line.char_indices().map(|(offset, _)| offset);
    let mut passed = 0;
    for start in starts {
        cuts.push(offsets.nth(start - passed).unwrap_or(line.len()));
        passed = start + 1;
    }
    cuts.push(line.len());
    cuts.windows(2).map(|cut| line[cut[0]..cut[1]].trim()).collect()
}

/// The values of a line, where quotes and separators are well formed; a doubled quote inside of quotes is one.
pub(crate) fn values(line: &str, separator: char) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let mut rest = line;
    loop {
        let (value, after) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside)?,
            None => {
                let end = rest.find(separator).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        values.push(value);
        match after.strip_prefix(separator) {
            Some(next) => rest = next,
            None => return after.trim().is_empty().then_some(values),
        }
    }
}

/// What stands up to the closing quote, and what follows it.
fn quoted(inside: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = inside;
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                value.push('"');
                rest = next;
            }
            None => return Some((value, after)),
        }
    }
}

/// A line `NAME : VALUE` of a list.
pub(crate) fn property(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(" :").or_else(|| line.split_once(':'))?;
    let name = name.trim();
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then_some((name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_cut_where_the_underlining_begins() {
        let starts = underlined("------------ --------- -----", '-').unwrap();
        assert_eq!(starts, [0, 13, 23]);
        assert_eq!(cells("::           49676     Listen", &starts), ["::", "49676", "Listen"]);
        assert_eq!(cells("ü é", &starts), ["ü é", "", ""]);
        assert_eq!(underlined("---- x", '-'), None);
        assert_eq!(underlined("   ", '-'), None);
    }

    #[test]
    fn quotes_keep_separators() {
        assert_eq!(values(r#""a,b","say ""hi""",7,"#, ',').unwrap(), ["a,b", "say \"hi\"", "7", ""]);
        assert_eq!(values("a;b", ';').unwrap(), ["a", "b"]);
        assert_eq!(values(r#""a"b,c"#, ','), None);
        assert_eq!(values(r#""never closed"#, ','), None);
    }
}
