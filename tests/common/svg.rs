//! Reads what an SVG shows: its texts with their places, and its rectangles.

use resvg::usvg::fontdb::Database;
use resvg::usvg::{Group, Node, Options, Rect, Tree};

/// Returns every text of an SVG with the box that it covers in the built-in font, in pixels, and the size of the image.
pub(crate) fn texts(svg: &str) -> (Vec<(String, Rect)>, (f32, f32)) {
    fn walk(group: &Group, found: &mut Vec<(String, Rect)>) {
        for node in group.children() {
            match node {
                Node::Group(group) => walk(group, found),
                Node::Text(text) => {
                    let words = text.chunks().iter().map(|chunk| chunk.text().trim()).collect();
                    found.push((words, text.abs_bounding_box()));
                }
                Node::Path(_) | Node::Image(_) => {}
            }
        }
    }
    let mut fonts = Database::new();
    fonts.load_font_data(ttf_noto_sans::REGULAR.to_vec());
    fonts.load_font_data(ttf_noto_sans::BOLD.to_vec());
    let tree = Tree::from_str(svg, &Options { fontdb: fonts.into(), ..Options::default() }).unwrap();
    let mut found = Vec::new();
    walk(tree.root(), &mut found);
    (found, (tree.size().width(), tree.size().height()))
}

/// Asserts that no text leaves the image or covers another.
pub(crate) fn assert_apart(svg: &str) {
    let (texts, (width, height)) = texts(svg);
    for (place, (text, shape)) in texts.iter().enumerate() {
        let inside = shape.left() >= 0.0 && shape.top() >= 0.0 && shape.right() <= width && shape.bottom() <= height;
        assert!(inside, "{text:?} at {shape:?} leaves {width} x {height}");
        for (other, theirs) in &texts[place + 1..] {
            let apart = shape.right() <= theirs.left() || theirs.right() <= shape.left();
            let above = shape.bottom() <= theirs.top() || theirs.bottom() <= shape.top();
            assert!(apart || above, "{text:?} at {shape:?} overlaps {other:?} at {theirs:?}");
        }
    }
}

/// Returns left, top, width and height of every rectangle of this opacity, in pixels and in the order of drawing.
/// Rectangles that were merged into a path are included.
pub(crate) fn rectangles(svg: &str, opacity: &str) -> Vec<(f64, f64, f64, f64)> {
    let number = |text: &str| text.trim().parse::<f64>().expect("a number") / 10.0;
    let value = |line: &str, name: &str| {
        let after = line.split(&format!(" {name}=\"")).nth(1).expect("the attribute");
        after.split('"').next().expect("its end").to_owned()
    };
    let mut found = Vec::new();
    for line in svg.lines().filter(|line| line.contains(&format!("opacity=\"{opacity}\""))) {
        if line.starts_with("<rect") {
            let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| number(&value(line, name)));
            found.push((x, y, width, height));
        } else if line.starts_with("<path") {
            for piece in value(line, "d").split('z').filter(|piece| !piece.is_empty()) {
                let parts: Vec<f64> = piece.split(['M', ' ', 'h', 'v']).skip(1).map(number).collect();
                found.push((parts[0], parts[1], parts[2], parts[3]));
            }
        }
    }
    found
}

/// A mark of a series: its colour, and the box that it covers, as left, top, right and bottom in pixels.
pub(crate) type Mark = (String, [f64; 4]);

/// Returns the marks of an SVG that are points, lines or filled shapes, in the order of drawing, without text and
/// rectangles. A line without length is not seen, so it is none.
pub(crate) fn marks(svg: &str) -> Vec<Mark> {
    let kinds = ["<circle", "<polyline", "<polygon"];
    let marks = svg.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind)));
    let around = |points: &[(f64, f64)]| {
        let (xs, ys) = (points.iter().map(|point| point.0), points.iter().map(|point| point.1));
        let (least, most) = (f64::INFINITY, f64::NEG_INFINITY);
        [
            xs.clone().fold(least, f64::min),
            ys.clone().fold(least, f64::min),
            xs.fold(most, f64::max),
            ys.fold(most, f64::max),
        ]
    };
    marks
        .filter_map(|line| {
            let value = |name: &str| line.split(&format!(" {name}=\"")).nth(1).and_then(|it| it.split('"').next());
            let number = |name: &str| value(name).expect("the attribute").parse::<f64>().expect("a number") / 10.0;
            let colour = [value("stroke"), value("fill")].into_iter().flatten().find(|colour| colour.starts_with('#'));
            let points: Vec<(f64, f64)> = if line.starts_with("<circle") {
                vec![(number("cx"), number("cy"))]
            } else {
                let pairs = value("points").expect("it has points").split_whitespace().map(|pair| {
                    let (x, y) = pair.split_once(',').expect("a pair");
                    (x.parse::<f64>().expect("a number") / 10.0, y.parse::<f64>().expect("a number") / 10.0)
                });
                pairs.collect()
            };
            let [left, top, right, bottom] = around(&points);
            let seen = !line.starts_with("<polyline") || right > left || bottom > top;
            seen.then(|| (colour.unwrap_or("").to_owned(), [left, top, right, bottom]))
        })
        .collect()
}

/// Returns left, top, right and bottom of every panel, from the lines of its grid. Panels are above or beside each
/// other.
pub(crate) fn panels(svg: &str) -> Vec<[f64; 4]> {
    let mut found: Vec<[f64; 4]> = Vec::new();
    for line in svg.lines().filter(|line| line.starts_with("<line")) {
        let number = |name: &str| {
            let after = line.split(&format!(" {name}=\"")).nth(1).expect("the attribute");
            after.split('"').next().expect("its end").parse::<f64>().expect("a number") / 10.0
        };
        let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(number);
        let mut panel = [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)];
        // The line belongs together with everything that it touches.
        found.retain(|other| {
            let apart = other[2] < panel[0] || panel[2] < other[0] || other[3] < panel[1] || panel[3] < other[1];
            if !apart {
                for (own, theirs) in panel[..2].iter_mut().zip(&other[..2]) {
                    *own = own.min(*theirs);
                }
                for (own, theirs) in panel[2..].iter_mut().zip(&other[2..]) {
                    *own = own.max(*theirs);
                }
            }
            apart
        });
        found.push(panel);
    }
    found.sort_by(|a, b| a[1].total_cmp(&b[1]).then(a[0].total_cmp(&b[0])));
    found
}
