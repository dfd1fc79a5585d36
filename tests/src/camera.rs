//! The picture that Chromium shows as its camera: a film in YUV4MPEG2, which it reads anew each time the camera opens.

use std::fs::File;
use std::io::{BufWriter, Cursor, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// The luma of a dim room.
const DARK: u8 = 60;
/// The chroma of grey.
const NO_COLOUR: u8 = 128;
/// The film loops.
const FRAMES: usize = 5;

/// Brightness, row by row.
#[derive(Clone, Debug)]
struct Picture {
    width: usize,
    height: usize,
    luma: Vec<u8>,
}

/// Makes a film of what stands before the camera: a picture (PNG), as large as it fits into the frame.
pub fn film(png: &[u8], path: &Path) -> Result<()> {
    let luma = fit(&decode(png)?);
    let chroma = vec![NO_COLOUR; WIDTH * HEIGHT / 2];
    let mut film = BufWriter::new(File::create(path).context("cannot write the camera's film")?);
    writeln!(film, "YUV4MPEG2 W{WIDTH} H{HEIGHT} F15:1 Ip A1:1 C420jpeg")?;
    for _ in 0..FRAMES {
        film.write_all(b"FRAME\n")?;
        film.write_all(&luma)?;
        film.write_all(&chroma)?;
    }
    film.flush().context("cannot write the camera's film")
}

/// Makes a film of nothing: a dark room.
pub fn film_of_nothing(path: &Path) -> Result<()> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 8, 6);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header()?.write_image_data(&[DARK; 48])?;
    film(&png, path)
}

fn decode(png: &[u8]) -> Result<Picture> {
    let mut decoder = png::Decoder::new(Cursor::new(png));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().context("no PNG")?;
    let mut pixels = vec![0; reader.output_buffer_size().context("a picture of this size")?];
    let info = reader.next_frame(&mut pixels).context("the PNG ends early")?;
    let channels = info.color_type.samples();
    let luma = pixels.chunks_exact(channels).map(brightness).collect();
    Ok(Picture { width: usize::try_from(info.width)?, height: usize::try_from(info.height)?, luma })
}

/// ITU-R BT.601, as JPEG has it.
fn brightness(pixel: &[u8]) -> u8 {
    match *pixel {
        [red, green, blue, ..] => {
            let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
            u8::try_from(sum / 1000).unwrap_or(u8::MAX)
        }
        [grey, ..] => grey,
        [] => 0,
    }
}

/// Scales a picture into the middle of a frame; each pixel is the mean of those that it covers.
fn fit(picture: &Picture) -> Vec<u8> {
    let (width, height) = if picture.width * HEIGHT > picture.height * WIDTH {
        (WIDTH, (picture.height * WIDTH / picture.width).max(1))
    } else {
        ((picture.width * HEIGHT / picture.height).max(1), HEIGHT)
    };
    let (left, top) = ((WIDTH - width) / 2, (HEIGHT - height) / 2);
    let mut frame = vec![DARK; WIDTH * HEIGHT];
    for (row, line) in frame.chunks_exact_mut(WIDTH).skip(top).take(height).enumerate() {
        for (column, pixel) in line.iter_mut().skip(left).take(width).enumerate() {
            let across = span(column, width, picture.width);
            *pixel = picture.mean(&across, &span(row, height, picture.height));
        }
    }
    frame
}

/// The source pixels that the destination pixel `index` of `count` covers.
fn span(index: usize, count: usize, source: usize) -> std::ops::Range<usize> {
    let start = index * source / count;
    start..((index + 1) * source / count).max(start + 1)
}

impl Picture {
    fn mean(&self, across: &std::ops::Range<usize>, down: &std::ops::Range<usize>) -> u8 {
        let rows = self.luma.chunks_exact(self.width).skip(down.start).take(down.len());
        let pixels = rows.flat_map(|row| row.iter().skip(across.start).take(across.len()));
        let (sum, count) =
            pixels.fold((0_usize, 0_usize), |(sum, count), pixel| (sum + usize::from(*pixel), count + 1));
        u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX)
    }
}
