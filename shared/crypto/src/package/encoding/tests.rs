#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

fn decode(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}

fn code(text: &str) -> ContentCode {
    ContentCode::from_slice(&decode(text)).unwrap()
}

#[test]
fn the_example_of_rfc_8188_section_3_1_comes_out() {
    let (code, salt) = (code("yqdlZ-tYemfogSmv7Ws5PQ"), decode("I1BsxtFttlv3u_Oo94xnmw"));
    let encoded = decode("I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg");
    let mut walrus = Encoder::with_records(&code, salt.try_into().unwrap(), 4096).unwrap();
    let made = [walrus.push(b"I am the walrus").unwrap(), walrus.finish().unwrap()].concat();
    assert_eq!(made, encoded);
    let mut decoder = Decoder::with_records(code, 4096);
    let read = [decoder.push(&encoded).unwrap().to_vec(), decoder.finish().unwrap().to_vec()].concat();
    assert_eq!(read, b"I am the walrus");
}

fn encrypted(content: &[u8], record: usize) -> Vec<u8> {
    let mut encoder = Encoder::with_records(&ContentCode::new([7; 16]), [9; SALT_BYTES], record).unwrap();
    let mut out = Vec::new();
    for piece in content.chunks(13) {
        out.extend(encoder.push(piece).unwrap());
    }
    out.extend(encoder.finish().unwrap());
    out
}

fn decrypted(file: &[u8], record: usize) -> Result<Vec<u8>, EncodingError> {
    let mut decoder = Decoder::with_records(ContentCode::new([7; 16]), record);
    let mut out = Vec::new();
    for piece in file.chunks(17) {
        out.extend_from_slice(&decoder.push(piece)?);
    }
    out.extend_from_slice(&decoder.finish()?);
    Ok(out)
}

#[test]
fn a_file_that_is_cut_off_extended_or_in_another_order_is_refused() {
    const RECORD: usize = 40;
    let content = [5; 23 * 3];
    let file = encrypted(&content, RECORD);
    assert_eq!(file.len(), HEADER_BYTES + 3 * RECORD);
    assert_eq!(decrypted(&file, RECORD).unwrap(), content);
    let cut = &file[..HEADER_BYTES + 2 * RECORD];
    assert_eq!(decrypted(cut, RECORD), Err(EncodingError::End));
    assert_eq!(decrypted(&file[..HEADER_BYTES], RECORD), Err(EncodingError::End));
    assert_eq!(decrypted(&file[..9], RECORD), Err(EncodingError::Header));
    let longer = [&file[..], &file[HEADER_BYTES + 2 * RECORD..]].concat();
    assert_eq!(decrypted(&longer, RECORD), Err(EncodingError::End));
    let mut moved = file.clone();
    moved[HEADER_BYTES..HEADER_BYTES + 2 * RECORD].rotate_left(RECORD);
    assert_eq!(decrypted(&moved, RECORD), Err(EncodingError::Record));
    assert_eq!(decrypted(&file, RECORD + 1), Err(EncodingError::Header));
    let mut named = file;
    named[HEADER_BYTES - 1] = 1;
    assert_eq!(decrypted(&named, RECORD), Err(EncodingError::Header));
}

#[test]
fn a_part_from_any_place_on_is_the_end_of_the_whole() {
    let (code, salt) = (ContentCode::new([7; CODE_BYTES]), [9; SALT_BYTES]);
    let full = content_of(RECORD_BYTES);
    for length in [0, 1, full - 1, full, full + 1, 2 * full, 2 * full + 5] {
        let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let made = |mut encoder: Encoder, from: usize| {
            let pushed = encoder.push(&content[from..]).unwrap();
            [pushed, encoder.finish().unwrap()].concat()
        };
        let whole = made(Encoder::new(&code, salt).unwrap(), 0);
        assert_eq!(u64::try_from(whole.len()).unwrap(), encrypted_bytes(u64::try_from(length).unwrap()), "{length}");
        let records = [0, RECORD_BYTES, 2 * RECORD_BYTES].map(|at| HEADER_BYTES + at);
        for offset in [0, 1, HEADER_BYTES - 1].into_iter().chain(records).chain(records.map(|at| at + 9)) {
            if offset < whole.len() {
                let place = Place::at(u64::try_from(offset).unwrap());
                let part = made(Encoder::at(&code, salt, place).unwrap(), usize::try_from(place.content).unwrap());
                assert_eq!(part[usize::try_from(place.before).unwrap()..], whole[offset..], "{offset} of {length}");
            }
        }
    }
}

proptest! {
    #[test]
    fn what_was_encrypted_comes_back(content in prop::collection::vec(any::<u8>(), 0..300), record in 18_usize..80) {
        prop_assert_eq!(decrypted(&encrypted(&content, record), record).unwrap(), content);
    }

    #[test]
    fn no_bit_can_be_changed(content in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let mut file = encrypted(&content, 40);
        let at = at.index(file.len());
        file[at] ^= 1_u8 << bit;
        prop_assert!(decrypted(&file, 40).is_err());
    }
}
