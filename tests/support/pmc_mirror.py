"""Synthetic PMC articles in the layout of PMC's bucket: single objects, their metadata and a daily inventory."""

import csv
import gzip
import hashlib
import io
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUCKET = "pmc-oa-opendata"
INVENTORY = f"inventory-reports/{BUCKET}/metadata"
_WORDS = ["fever", "sepsis", "cohort", "dose", "of", "the", "with", "was", "lung", "renal", "trial", "patient", "after"]


@dataclass(frozen=True)
class Published:
    """An article as it is published. Its text depends on nothing but its attributes."""

    number: int
    version: int = 1
    licence: str | None = "CC BY"
    open_access: bool = True
    manuscript: bool = False
    retracted: bool = False
    scanned: bool = False
    has_xml: bool = True

    @property
    def name(self) -> str:
        return f"PMC{self.number}.{self.version}"

    @property
    def xml(self) -> bytes:
        draw = random.Random(self.name)
        body = "".join(f"<p>{' '.join(draw.choices(_WORDS, k=60))} {part}.</p>" for part in range(draw.randint(2, 12)))
        return (
            f'<?xml version="1.0"?><article article-type="research-article"><front><article-meta>'
            f'<article-id pub-id-type="pmcid">PMC{self.number}</article-id>'
            f"<title-group><article-title>Article {self.number}, version {self.version}</article-title></title-group>"
            f"</article-meta></front><body><sec><title>Results</title>{body}</sec></body></article>"
        ).encode()

    @property
    def metadata(self) -> dict[str, Any]:
        address = f"s3://{BUCKET}/{self.name}/{self.name}"
        return {
            "pmcid": f"PMC{self.number}",
            "version": self.version,
            "title": f"Article {self.number}",
            "is_pmc_openaccess": self.open_access,
            "is_manuscript": self.manuscript,
            "is_historical_ocr": self.scanned,
            "is_retracted": self.retracted,
            "license_code": self.licence,
            "xml_url": f"{address}.xml?md5={hashlib.md5(self.xml).hexdigest()}" if self.has_xml else None,
            "text_url": f"{address}.txt?md5={0:032x}",
            "media_urls": [],
        }


@dataclass
class Mirror:
    """The objects of a bucket by their keys."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def publish(self, articles: Iterable[Published]) -> None:
        """Add articles, or replace them."""
        for article in articles:
            metadata = json.dumps(article.metadata).encode()
            self.objects[f"metadata/{article.name}.json"] = metadata
            self.objects[f"{article.name}/{article.name}.json"] = metadata
            if article.has_xml:
                self.objects[f"{article.name}/{article.name}.xml"] = article.xml

    def take_inventory(self, moment: str, files: int = 2) -> None:
        """Add the inventory of a time such as 2026-11-28T01-00Z, in several files as S3 writes it."""
        rows = [
            [BUCKET, key, "2026-11-27T01:02:03.000Z", hashlib.md5(content).hexdigest()]
            for key, content in sorted(self.objects.items())
            if key.startswith("metadata/")
        ]
        random.Random(moment).shuffle(rows)  # S3 does not sort them
        described = []
        for part in range(files):
            text = io.StringIO()
            csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows[part::files])
            content = gzip.compress(text.getvalue().encode(), mtime=0)
            key = f"inventory-reports/{BUCKET}/metadata/data/{moment}-{part}.csv.gz".replace(":", "")
            self.objects[key] = content
            described.append({"key": key, "size": len(content), "MD5checksum": hashlib.md5(content).hexdigest()})
        manifest = {
            "sourceBucket": BUCKET,
            "destinationBucket": f"arn:aws:s3:::{BUCKET}",
            "version": "2016-11-30",
            "creationTimestamp": "1795827600000",
            "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, LastModifiedDate, ETag",
            "files": described,
        }
        self.objects[f"{INVENTORY}/{moment}/manifest.json"] = json.dumps(manifest).encode()
        self.objects[f"{INVENTORY}/{moment}/manifest.checksum"] = b"0"
        self.objects[f"{INVENTORY}/hive/dt={moment}/symlink.txt"] = b"s3://..."

    def write(self, directory: Path) -> Path:
        """Write the objects as files, as `aws s3 sync` does."""
        for key, content in self.objects.items():
            path = directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return directory

    def store(self, client: Any, bucket: str = BUCKET, prefix: str = "") -> None:
        """Put the objects into a bucket that everybody may read and list."""
        if bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=bucket)
            everybody = {"Effect": "Allow", "Principal": "*"}
            read = {**everybody, "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]}
            browse = {**everybody, "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"]}
            policy = {"Version": "2012-10-17", "Statement": [read, browse]}
            client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        for key, content in self.objects.items():
            if key.startswith("PMC") and key.endswith(".json"):
                continue  # a copy of the object in metadata/
            client.put_object(Bucket=bucket, Key=prefix + key, Body=content)
