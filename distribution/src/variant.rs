//! The variant of a package that one gateway alone can read (Distribution, paragraphs 0030 and 0032): it is encrypted as it passes, so that
//! nothing of it is stored.

use futures_util::{Stream, StreamExt as _, stream};
use rand_core::Rng as _;
use wardlink_crypto::package::{CODE_BYTES, ContentCode, Encoder, EncodingError, Place, SALT_BYTES};
use wardlink_edge::files::Files;
use wardlink_edge::platform::rng;
use wardlink_edge::problem::Failure;
use wardlink_edge::vault::Vault;
use wardlink_protocol::identity::Sha256;
use worker::{ByteStream, Env, Error, Range};
use zeroize::Zeroizing;

/// Where a content key lies.
const PLACE: &str = "a package's content key";

/// What makes a variant another one than every other: its content key and its salt.
pub(crate) struct Content {
    pub(crate) code: ContentCode,
    salt: [u8; SALT_BYTES],
}

impl Content {
    /// Draws both; what is stored of them is sealed.
    pub(crate) fn draw(env: &Env) -> Result<Vec<u8>, Failure> {
        let mut bytes = Zeroizing::new([0; CODE_BYTES + SALT_BYTES]);
        rng().fill_bytes(bytes.as_mut());
        Vault::open(env)?.seal(PLACE, bytes.as_ref())
    }

    /// Opens what was sealed.
    pub(crate) fn open(env: &Env, sealed: &[u8]) -> Result<Self, Failure> {
        let opened = Vault::open(env)?.unseal(PLACE, sealed)?;
        let (code, salt) = opened.split_at_checked(CODE_BYTES).unwrap_or_default();
        let wrong = |_| Failure::internal("a stored content key has another length");
        Ok(Self { code: ContentCode::new(code.try_into().map_err(wrong)?), salt: salt.try_into().map_err(wrong)? })
    }

    /// So many bytes of the encrypted file, from this one on, as it is made of a package in the store.
    pub(crate) async fn encrypt(
        &self,
        files: &Files,
        package: &Sha256,
        offset: u64,
        length: u64,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, Error>> + use<>, Failure> {
        let place = Place::at(offset);
        let encoder = Encoder::at(&self.code, self.salt, place).map_err(Failure::internal)?;
        let mut get = files.bucket().get(files.key(package));
        if place.content > 0 {
            get = get.range(Range::OffsetToEnd { offset: place.content });
        }
        let object = get.execute().await?.ok_or_else(|| Failure::internal("a package is not there"))?;
        let body = object.body().ok_or_else(|| Failure::internal("a package has no content"))?;
        let before = usize::try_from(place.before).map_err(Failure::internal)?;
        let passing = Passing { package: body.stream()?, encoder: Some(encoder), before, left: length };
        Ok(stream::try_unfold(passing, Passing::next))
    }
}

/// A package that is being encrypted.
struct Passing {
    package: ByteStream,
    /// None once its end was made.
    encoder: Option<Encoder>,
    /// So many bytes of what is made next are not asked for.
    before: usize,
    /// How many are asked for still.
    left: u64,
}

impl Passing {
    async fn next(mut self) -> Result<Option<(Vec<u8>, Self)>, Error> {
        let failed = |error: EncodingError| Error::RustError(error.to_string());
        while let Some(encoder) = self.encoder.as_mut().filter(|_| self.left > 0) {
            let mut made = match self.package.next().await {
                Some(piece) => encoder.push(&piece?).map_err(failed)?,
                None => self.encoder.take().map_or_else(|| Ok(Vec::new()), Encoder::finish).map_err(failed)?,
            };
            let skipped = self.before.min(made.len());
            self.before = self.before.saturating_sub(skipped);
            made.drain(..skipped);
            made.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            if !made.is_empty() {
                self.left = self.left.saturating_sub(u64::try_from(made.len()).unwrap_or(u64::MAX));
                return Ok(Some((made, self)));
            }
        }
        Ok(None)
    }
}
