//! The QR code as a picture: black on pure white, with the margin of four modules that ISO/IEC 18004 asks for.

use qrcode::render::{svg, unicode};
use qrcode::{Color, EcLevel, QrCode};

/// The margin on each side, in modules.
const MARGIN: usize = 4;
/// The size of a module in the PNG, in pixels.
const MODULE_PIXELS: usize = 8;

/// A QR code.
pub struct Qr(QrCode);

/// Our fault: a text that no QR code holds, or a picture that cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum QrError {
    /// The text is too long.
    #[error("the text does not fit into a QR code")]
    TooLong(#[from] qrcode::types::QrError),
    /// The PNG encoder refused.
    #[error("the picture cannot be encoded: {0}")]
    Picture(#[from] png::EncodingError),
}

impl Qr {
    /// Encodes `text` with error correction level M; upper-case addresses fit the alphanumeric mode.
    pub fn new(text: &str) -> Result<Self, QrError> {
        Ok(Self(QrCode::with_error_correction_level(text, EcLevel::M)?))
    }

    /// As SVG.
    pub fn svg(&self) -> String {
        self.0
            .render::<svg::Color<'_>>()
            .dark_color(svg::Color("#000"))
            .light_color(svg::Color("#fff"))
            .min_dimensions(424, 424)
            .build()
    }

    /// As PNG, eight pixels to a module.
    pub fn png(&self) -> Result<Vec<u8>, QrError> {
        let width = self.0.width();
        let side = (width + 2 * MARGIN) * MODULE_PIXELS;
        let modules = self.0.to_colors();
        let mut pixels = vec![u8::MAX; side * side];
        for (index, pixel) in pixels.iter_mut().enumerate() {
            let (x, y) = (index % side / MODULE_PIXELS, index / side / MODULE_PIXELS);
            let inside = (MARGIN..MARGIN + width).contains(&x) && (MARGIN..MARGIN + width).contains(&y);
            if inside && modules.get((y - MARGIN) * width + x - MARGIN) == Some(&Color::Dark) {
                *pixel = 0;
            }
        }
        let mut bytes = Vec::new();
        let side = u32::try_from(side).unwrap_or(u32::MAX);
        let mut encoder = png::Encoder::new(&mut bytes, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(bytes)
    }

    /// As lines of half blocks, two modules to a character: a full block is white, so that the text is drawn white on black.
    pub fn blocks(&self) -> String {
        self.0
            .render::<unicode::Dense1x2>()
            .dark_color(unicode::Dense1x2::Light)
            .light_color(unicode::Dense1x2::Dark)
            .build()
    }
}
