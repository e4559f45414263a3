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
