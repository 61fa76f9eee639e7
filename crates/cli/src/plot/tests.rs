//! Plots of hand-made series, drawn each way.

use portolan_core::trend::End;

use super::*;
use crate::output::Surface;

const MINUTE: u64 = 60_000;
/// 2026-11-27 22:00 UTC.
const FROM: u64 = 1_795_816_800_000;

fn series(name: &str, points: impl IntoIterator<Item = (u64, f64, f64, f64)>) -> Series {
    let point =
        |(minute, min, mean, max)| Point { at_ms: FROM + minute * MINUTE, span_ms: MINUTE, min, mean, max };
    Series::new(name, points.into_iter().map(point))
}

/// Two hours of room that shrinks, with a pause of 20 minutes.
fn room() -> Plot {
    let points = (0..120).filter(|minute| !(40..60).contains(minute)).map(|minute| {
        let mean = 28_000.0 - 150.0 * minute as f64;
        (minute, mean - 600.0, mean, mean + 300.0)
    });
    Plot {
        title: "Room left".to_owned(),
        unit: "ports left",
        from_ms: FROM,
        to_ms: FROM + 120 * MINUTE,
        least: true,
        series: vec![series("10.0.0.5 to 10.0.7.9:8443", points)],
        // The line ends higher; the last look saw this.
        lasts: vec![Some(10_077.0)],
        pauses: vec![(FROM + 40 * MINUTE, FROM + 60 * MINUTE)],
        marks: vec![Mark { at_ms: FROM + 70 * MINUTE, label: "the range changed".to_owned() }],
        outlook: Some(Outlook {
            series: 0,
            now: 10_000.0,
            end: End { earliest_s: 3600.0, likely_s: 4000.0, latest_s: Some(4600.0) },
        }),
    }
}

/// Two owners, one of them with a hostile name, and one that is not always there.
fn owners() -> Plot {
    let steady = (0..60).map(|minute| (minute, 100.0, 110.0 + (minute % 7) as f64, 130.0));
    let late = (0..60).map(|minute| {
        let value = (minute as f64 - 30.0).max(0.0) * 40.0;
        (minute, value, value, value)
    });
    Plot {
        title: "Sockets by owner <&>".to_owned(),
        unit: "sockets",
        to_ms: FROM + 60 * MINUTE,
        least: false,
        series: vec![series("nginx (nginx.service)", steady), series("evil</text>&\u{1b}[2J\"'名", late)],
        lasts: vec![None],
        pauses: Vec::new(),
        marks: Vec::new(),
        outlook: None,
        ..room()
    }
}

fn surface(width: usize, unicode: bool) -> Surface {
    Surface { width: Some(width), colour: false, unicode }
}

#[test]
fn a_line_alone_is_a_large_panel_with_its_pause_and_where_it_leads_to() {
    insta::assert_snapshot!(draw(&room(), &surface(80, true)), @r"
    10.0.0.5 to 10.0.7.9:8443  10,077 at last
    30,000
           ▇▅▄▂▁
           ██████▆▅▄▂▁
           ███████████▇▆▅
           ██████████████      ▃▁
           ██████████████      ███▇▆▄▃▁
           ██████████████      █████████▇▅▄▃▁
           ██████████████      ███████████████▆▅▄▂▁
           ██████████████      █████████████████████▇••••••
           ██████████████      ██████████████████████      ••••••
           ██████████████      ██████████████████████            •••••
         0 ██████████████      ██████████████████████                 •••••••
           ┴─────────┴─────────┴──────────┴─────────┴──────────┴─────────┴───────
       UTC         22:30     23:00      23:30     11-28      00:30     01:00
                                   ▲
    ▲ 2026-11-27 23:10:00 UTC  the range changed
    ");
}

#[test]
fn each_of_several_lines_has_a_panel_of_its_own_scale() {
    insta::assert_snapshot!(draw(&owners(), &surface(60, true)), @r#"
    nginx (nginx.service)  113 at last
      150
          ▁▂▂▂▃▃▁▂▂▂▃▃▁▂▂▂▃▃▁▂▂▂▃▃▁▂▂▂▃▃▁▂▂▃▃▃▁▂▂▃▃▃▁▂▂▃▃▂▁▂▂
          ███████████████████████████████████████████████████
          ███████████████████████████████████████████████████
          ███████████████████████████████████████████████████
          ███████████████████████████████████████████████████
        0 ███████████████████████████████████████████████████
    evil</text>&\u{1b}[2J"'名  1,160 at last
    1,500
                                                           ▁▃
                                                      ▁▂▄▆███
                                                  ▂▃▅▇███████
                                             ▁▃▄▆████████████
                                         ▂▃▅▇████████████████
        0 ··························▁▃▅▆█████████████████████
          ┴───────────┴────────────┴────────────┴───────────┴
      UTC           22:15        22:30        22:45
    "#);
}

#[test]
fn a_plot_is_plain_ascii_where_need_be() {
    let drawn = draw(&owners(), &surface(60, false));
    assert!(drawn.is_ascii(), "{drawn}");
    insta::assert_snapshot!(drawn, @r#"
    nginx (nginx.service)  113 at last
      150
          ...................................................
          ###################################################
          ###################################################
          ###################################################
          ###################################################
        0 ###################################################
    evil</text>&\u{1b}[2J"'\u{540d}  1,160 at last
    1,500
                                                           ..
                                                      ..==###
                                                  ..=########
                                             ..==############
                                         ..=#################
        0 ............................==#####################
          +-----------+------------+------------+-----------+
      UTC           22:15        22:30        22:45
    "#);
}

#[test]
fn colour_is_on_bars_and_names_alone_and_nothing_is_wider_than_the_terminal() {
    let coloured = draw(&owners(), &Surface { colour: true, ..surface(60, true) });
    let plain = anstream::adapter::strip_str(&coloured).to_string();
    assert_eq!(plain, draw(&owners(), &surface(60, true)));
    assert_ne!(plain, coloured);
    for width in [20, 40, 80, 300] {
        for line in draw(&room(), &surface(width, false)).lines().filter(|line| !line.starts_with("  ")) {
            assert!(line.len() <= width.max(26), "{width}: {line}");
        }
    }
}

#[test]
fn a_column_has_the_least_and_the_most_of_what_lies_in_it() {
    let series = series("x", [(0, 1.0, 2.0, 3.0), (1, 0.0, 4.0, 9.0), (5, 7.0, 7.0, 7.0)]);
    let of = |from: u64, to: u64| within(&series, FROM + from * MINUTE / 2, FROM + to * MINUTE / 2);
    assert_eq!(of(0, 4).map(|p| (p.min, p.mean, p.max)), Some((0.0, 3.0, 9.0)));
    assert_eq!(of(1, 2).map(|p| (p.min, p.mean, p.max)), Some((1.0, 2.0, 3.0)), "a part of a stretch");
    assert_eq!(of(4, 10), None, "nothing was recorded");
}

fn text(plot: &Plot) -> String {
    String::from_utf8(svg::write(plot)).unwrap()
}

#[test]
fn svg_is_well_formed_whatever_the_names() {
    for plot in [room(), owners(), Plot { series: Vec::new(), ..room() }] {
        let text = text(&plot);
        let document = roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let of = |tag: &str| {
            document.descendants().find(|node| node.has_tag_name(("http://www.w3.org/2000/svg", tag)))
        };
        assert_eq!(of("title").unwrap().text(), Some(plot.title.as_str()));
        assert!(of("desc").unwrap().text().unwrap().starts_with("From 2026-11-27 22:00:00 UTC to"));
        let drawn =
            document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
        assert!(drawn.count() > 8, "{text}");
    }
    let text = text(&owners());
    assert!(text.contains("evil&lt;/text&gt;&amp;\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn svg_tells_in_words_what_it_shows_and_breaks_its_line_where_nothing_was_recorded() {
    let text = text(&room());
    let document = roxmltree::Document::parse(&text).unwrap();
    let node = |class: &'static str| {
        document.descendants().filter(move |node| node.attribute("class") == Some(class))
    };
    insta::assert_snapshot!(document.descendants().find(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "desc"))).unwrap().text().unwrap(), @r"From 2026-11-27 22:00:00 UTC to 2026-11-28 00:00:00 UTC, in ports left. 10.0.0.5 to 10.0.7.9:8443: 28,000 at first, 10,077 at last, between 9,550 and 28,300. It ends between 2026-11-28 01:00:00 UTC and 2026-11-28 01:16:40 UTC. Nothing was recorded from 2026-11-27 22:40:00 UTC to 2026-11-27 23:00:00 UTC.");
    // Two runs, and the legend's own.
    assert_eq!(node("l0 line").count(), 3);
    // The pause and its legend; the cone and its legend.
    assert_eq!((node("pause area").count(), node("alarm area").count()), (2, 2));
    let xs: Vec<f32> = node("l0 line")
        .flat_map(|line| line.attribute("points").unwrap().split(' '))
        .map(|point| point.split(',').next().unwrap().parse().unwrap())
        .collect();
    let pause = node("pause area").next().unwrap().attribute("points").unwrap();
    let edge = |place: usize| -> f32 {
        pause.split(' ').nth(place).unwrap().split(',').next().unwrap().parse().unwrap()
    };
    assert!(xs.iter().all(|x| *x <= edge(0) || *x >= edge(1)), "{xs:?} {pause}");
}

/// The pixels of a PNG, three bytes each, and its width.
fn pixels(plot: &Plot) -> (Vec<u8>, usize) {
    let file = png::write(plot);
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.color_type, info.width), (::png::ColorType::Rgb, 2000));
    (pixels, info.width as usize)
}

#[test]
fn png_has_the_line_the_cone_the_pause_and_text() {
    let (pixels, width) = pixels(&room());
    let count = |wanted: [u8; 3]| pixels.chunks(3).filter(|pixel| **pixel == wanted).count();
    assert!(count([0xff, 0xff, 0xff]) > pixels.len() / 3 / 2, "white paper");
    assert!(count([0x00, 0x72, 0xb2]) > 1000, "the line");
    assert!(count([0xec, 0xef, 0xf2]) > 10_000, "the pause");
    assert!(count([0xc6, 0x28, 0x28]) > 300, "what is foreseen");
    // The title: dark pixels at the upper left, and none beyond it.
    let dark = |x: usize, y: usize| pixels.get((y * width + x) * 3).is_some_and(|red| *red < 0x60);
    assert!((48..200).any(|x| (40..70).any(|y| dark(x, y))));
    assert!(!(1000..1900).any(|x| (20..70).any(|y| dark(x, y))));
}

#[test]
fn png_falls_as_the_numbers_do() {
    let (pixels, width) = pixels(&Plot { outlook: None, marks: Vec::new(), ..room() });
    let line = |x: usize| {
        (0..pixels.len() / 3 / width)
            .find(|y| pixels.get((y * width + x) * 3..).is_some_and(|p| p.starts_with(&[0x00, 0x72, 0xb2])))
    };
    let heights: Vec<usize> = [200, 400, 1000, 1380].into_iter().filter_map(line).collect();
    assert!(heights.len() == 4 && heights.is_sorted_by(|a, b| a < b), "{heights:?}");
    assert_eq!(line(172 + (1400 - 172) * 50 / 120), None, "the pause");
}
