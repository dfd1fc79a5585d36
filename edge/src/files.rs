//! The store of files (R2): packages, documents and metadata by their SHA-256, each manufacturer's apart, so that none can spoil
//! another's. What is public, and under which name, says the distribution object.

use crate::platform::streams::{self, Algorithm};
use crate::problem::Failure;
use sha2::{Digest, Sha256 as Hasher};
use wardlink_protocol::identity::Sha256;
use worker::{Bucket, Env, Object};

/// The binding of the bucket.
const BINDING: &str = "FILES";

/// The files of one manufacturer.
pub struct Files {
    bucket: Bucket,
    owner: String,
}

impl Files {
    /// Opens the store for one manufacturer, whose name is one that packages can have.
    pub fn of(env: &Env, owner: &str) -> Result<Self, Failure> {
        Ok(Self { bucket: env.bucket(BINDING)?, owner: owner.to_owned() })
    }

    /// Where a file lies.
    pub fn key(&self, sha256: &Sha256) -> String {
        format!("files/{}/{sha256}", self.owner)
    }

    /// The bucket itself, for what is read in parts.
    pub const fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The whole of a short file; none where it is not there.
    pub async fn read(&self, sha256: &Sha256) -> Result<Option<Vec<u8>>, Failure> {
        let Some(object) = self.bucket.get(self.key(sha256)).execute().await? else { return Ok(None) };
        let Some(body) = object.body() else { return Ok(None) };
        Ok(Some(body.bytes().await?))
    }

    /// Stores a short file under its hash, which is given back.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<Sha256, Failure> {
        let sha256 = Sha256(Hasher::digest(&bytes).into());
        self.bucket.put(self.key(&sha256), bytes).execute().await?;
        Ok(sha256)
    }

    /// The hash of what lies under a file's name; none where nothing does.
    pub async fn hash(&self, sha256: &Sha256, algorithm: Algorithm) -> Result<Option<(Vec<u8>, u64)>, Failure> {
        let Some(object) = self.bucket.get(self.key(sha256)).execute().await? else { return Ok(None) };
        let length = object.size();
        if length == 0 {
            return Ok(None);
        }
        let Some(body) = object.body() else { return Ok(None) };
        Ok(Some((streams::hash(algorithm, body.response_body()?).await?, length)))
    }

    /// Whether something lies there, and how long it is.
    pub async fn head(&self, sha256: &Sha256) -> Result<Option<Object>, Failure> {
        Ok(self.bucket.head(self.key(sha256)).await?)
    }

    /// Takes a file away.
    pub async fn remove(&self, sha256: &Sha256) -> Result<(), Failure> {
        Ok(self.bucket.delete(self.key(sha256)).await?)
    }
}
