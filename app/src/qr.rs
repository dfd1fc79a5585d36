//! Finds a QR code in a grey picture.
//!
//! Scale decides: the decoder reads a photograph of a screen at some sizes and not at others, and no inverted codes at all. So each picture is
//! tried at several sizes, and inverted, in an order that begins where the last code was found; what a picture has no time for comes first
//! with the next.

/// The lengths to which a picture's longer side is reduced, in pixels.
const SIDES: [usize; 4] = [800, 500, 1200, 350];
/// The most pixels of the longer side that a picture needs: more is never looked at.
pub(crate) const LONGEST_SIDE: u32 = 1200;
/// Below this a picture has no room for a code: 21 modules at 3 pixels.
const SHORTEST_SIDE: usize = 63;

/// A picture in shades of grey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grey {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Grey {
    /// Takes a picture as a canvas gives it: four bytes a pixel, red, green, blue, alpha. None where the size does not fit the bytes.
    pub(crate) fn from_rgba(width: u32, height: u32, rgba: &[u8]) -> Option<Self> {
        let (width, height) = (usize::try_from(width).ok()?, usize::try_from(height).ok()?);
        if width < SHORTEST_SIDE || height < SHORTEST_SIDE || rgba.len() != width.checked_mul(height)?.checked_mul(4)? {
            return None;
        }
        let pixels = rgba.as_chunks::<4>().0.iter().map(|&[red, green, blue, _]| luma(red, green, blue)).collect();
        Some(Self { width, height, pixels })
    }

    fn longer_side(&self) -> usize {
        self.width.max(self.height)
    }

    fn pixel(&self, x: usize, y: usize) -> u8 {
        self.pixels.get(y * self.width + x).copied().unwrap_or(u8::MAX)
    }

    /// The picture with its longer side at `side`, each pixel the mean of those that it covers. Never enlarges.
    fn reduced(&self, side: usize) -> Self {
        let longer = self.longer_side();
        if side >= longer {
            return self.clone();
        }
        let (width, height) = (self.width * side / longer, self.height * side / longer);
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            let rows = y * self.height / height..((y + 1) * self.height / height);
            for x in 0..width {
                let columns = x * self.width / width..((x + 1) * self.width / width);
                pixels.push(self.mean(columns, rows.clone()));
            }
        }
        Self { width, height, pixels }
    }

    fn mean(&self, columns: core::ops::Range<usize>, rows: core::ops::Range<usize>) -> u8 {
        let count = u32::try_from(columns.len() * rows.len()).unwrap_or(u32::MAX).max(1);
        let mut sum = 0_u32;
        for y in rows {
            let line =
                self.pixels.get(y * self.width + columns.start..y * self.width + columns.end).unwrap_or_default();
            sum += line.iter().copied().map(u32::from).sum::<u32>();
        }
        u8::try_from(sum / count).unwrap_or(u8::MAX)
    }
}

/// ITU-R BT.601, in 256ths.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue);
    u8::try_from(sum >> 8).unwrap_or(u8::MAX)
}

/// One way to look at a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    side: usize,
    inverted: bool,
}

/// Looks for codes in one picture after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finder {
    next: usize,
}

impl Finder {
    /// Looks at a picture in as many ways as `has_time` allows, in at least one, and returns the text of the first code that it can read.
    pub(crate) fn find(&mut self, picture: &Grey, mut has_time: impl FnMut() -> bool) -> Option<String> {
        let looks = looks(picture.longer_side());
        for _ in 0..looks.len() {
            let look = looks.get(self.next % looks.len())?;
            if let Some(text) = read(&picture.reduced(look.side), look.inverted) {
                return Some(text);
            }
            self.next = (self.next + 1) % looks.len();
            if !has_time() {
                break;
            }
        }
        None
    }
}

/// The ways to look at a picture: sizes that are not larger than it (and itself once), as it is and then inverted.
fn looks(longer_side: usize) -> Vec<Look> {
    let mut sides: Vec<usize> = SIDES.into_iter().filter(|side| *side < longer_side).collect();
    if longer_side <= SIDES.into_iter().max().unwrap_or_default() {
        sides.insert(0, longer_side);
    }
    let with = |inverted| sides.iter().map(move |&side| Look { side, inverted });
    with(false).chain(with(true)).collect()
}

fn read(picture: &Grey, inverted: bool) -> Option<String> {
    let shade = |x, y| if inverted { u8::MAX - picture.pixel(x, y) } else { picture.pixel(x, y) };
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(picture.width, picture.height, shade);
    prepared.detect_grids().into_iter().find_map(|grid| grid.decode().ok()).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const LINK: &str = "HTTPS://WARDLINK.EXAMPLE/V/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    /// A picture with a code whose modules are `module` pixels wide, at `offset`, on a page of `paper`.
    fn picture(text: &str, size: (usize, usize), module: usize, offset: (usize, usize), inverted: bool) -> Vec<u8> {
        let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::M).unwrap();
        let (modules, colors) = (code.width(), code.to_colors());
        let (ink, paper) = if inverted { (225, 30) } else { (30, 225) };
        let mut rgba = vec![paper; size.0 * size.1 * 4];
        for y in 0..modules * module {
            for x in 0..modules * module {
                if colors[y / module * modules + x / module] == qrcode::Color::Dark {
                    let at = ((y + offset.1) * size.0 + x + offset.0) * 4;
                    rgba[at..at + 3].fill(ink);
                }
            }
        }
        rgba
    }

    fn found(size: (usize, usize), rgba: &[u8]) -> Option<String> {
        let grey = Grey::from_rgba(u32::try_from(size.0).unwrap(), u32::try_from(size.1).unwrap(), rgba).unwrap();
        Finder::default().find(&grey, || true)
    }

    #[test]
    fn a_code_in_a_camera_picture_is_read() {
        let size = (640, 480);
        assert_eq!(found(size, &picture(LINK, size, 8, (120, 60), false)).as_deref(), Some(LINK));
    }

    #[test]
    fn small_and_large_codes_are_read() {
        for (size, module) in [((640, 480), 4), ((1280, 720), 16), ((1200, 1200), 24)] {
            assert_eq!(found(size, &picture(LINK, size, module, (40, 20), false)).as_deref(), Some(LINK), "{module}");
        }
    }

    #[test]
    fn an_inverted_code_is_read() {
        let size = (640, 480);
        assert_eq!(found(size, &picture(LINK, size, 8, (120, 60), true)).as_deref(), Some(LINK));
    }

    #[test]
    fn a_code_under_the_pattern_of_a_display_is_read_at_a_smaller_size() {
        // One pixel of three is the opposite: the pattern disappears in the mean, and nowhere else.
        let size = (1200, 900);
        let mut rgba = picture(LINK, size, 18, (150, 100), false);
        for (index, pixel) in rgba.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            if (index % size.0 + index / size.0).is_multiple_of(3) {
                pixel[..3].iter_mut().for_each(|value| *value = u8::MAX - *value);
            }
        }
        assert_eq!(read(&Grey::from_rgba(1200, 900, &rgba).unwrap(), false), None, "the picture is too easy");
        assert_eq!(found(size, &rgba).as_deref(), Some(LINK));
    }

    #[test]
    fn a_picture_without_a_code_has_none() {
        assert_eq!(found((640, 480), &vec![200; 640 * 480 * 4]), None);
    }

    #[test]
    fn without_time_one_look_is_taken_and_the_next_picture_goes_on() {
        let size = (640, 480);
        let rgba = picture(LINK, size, 8, (120, 60), true);
        let grey = Grey::from_rgba(640, 480, &rgba).unwrap();
        let mut finder = Finder::default();
        let tries = (1..20).find(|_| finder.find(&grey, || false).is_some());
        assert!(tries.is_some_and(|tries| tries > 1 && tries <= looks(640).len()), "{tries:?}");
        assert!(finder.find(&grey, || false).is_some(), "the look that found the last code comes first");
    }

    #[test]
    fn each_size_is_looked_at_once_and_none_enlarges() {
        let sides =
            |longer| looks(longer).iter().filter(|look| !look.inverted).map(|look| look.side).collect::<Vec<_>>();
        assert_eq!(sides(640), [640, 500, 350]);
        assert_eq!(sides(1200), [1200, 800, 500, 350]);
        assert_eq!(sides(1920), [800, 500, 1200, 350]);
    }

    #[test]
    fn bytes_that_do_not_fit_the_size_are_no_picture() {
        assert_eq!(Grey::from_rgba(640, 480, &[0; 16]), None);
        assert_eq!(Grey::from_rgba(u32::MAX, u32::MAX, &[0; 16]), None);
        assert_eq!(Grey::from_rgba(0, 0, &[]), None);
    }
}
