"""The data set in Croissant 1.1: files with hashes, fields, labels, and where it came from.

Croissant is MLCommons' vocabulary for data sets on top of schema.org
(http://mlcommons.org/croissant/1.1); the lineage is W3C's PROV-O. Every configuration is one
record set over its Parquet files; class labels refer to small record sets that name them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Features
from datasets import Image as ImageFeature

from curation.artifact import file_hash
from curation.licences import Licence
from curation.lineage import Record
from curation.shards import Key, Written

FILE = "croissant.json"
PARQUET = "application/x-parquet"
_CONFORMS = "http://mlcommons.org/croissant/1.1"
_CR = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileObject fileProperty "
    "fileSet format includes isArray isLiveDataset jsonPath key md5 parentField path recordSet "
    "references regex repeated replace samplingRate separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _CR.split()},
}
_TYPES = {
    "string": "sc:Text",
    "int64": "sc:Integer",
    "float32": "sc:Float",
    "bool": "sc:Boolean",
}
_SPLITS = {
    "train": "cr:TrainingSplit",
    "validation": "cr:ValidationSplit",
    "test": "cr:TestSplit",
}


def write(
    out: Path,
    written: Mapping[Key, Written],
    features: Features,
    *,
    name: str,
    title: str,
    release: int,
    date: str | None,
    url: str | None,
    columns: Mapping[str, str],
    licences: Mapping[str, Licence],
    records: Sequence[Record],
    reads: Sequence[Path],
) -> None:
    """Write ``croissant.json`` beside the Parquet files.

    Args:
        out: The published folder.
        written: The files of each configuration and split.
        features: Their schema.
        name: Short name.
        title: Heading.
        release: Version of the data set.
        date: Day of publication, or None.
        url: Page of the data set, or None.
        columns: Column → what it means.
        licences: Database → terms.
        records: Records of the stages upstream, inputs first.
        reads: The finished folders that were read.
    """
    paths: dict[str, list[Path]] = {}
    for (recipe, _), one in written.items():
        paths.setdefault(recipe, []).extend(one.files)
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS,
        "name": name,
        "description": f"{title}: faces labelled with facial expressions; see README.md.",
        "license": sorted({licence.url or licence.terms.strip() for licence in licences.values()}),
        "citeAs": "\n".join(
            dict.fromkeys(licence.citation.strip() for licence in licences.values())
        ),
        "keywords": ["facial expression recognition", "faces", "GAN", "synthetic data"],
        "version": f"{release}.0.0",
        **({"datePublished": date} if date else {}),
        **({"url": url} if url else {}),
        "rai:dataCollection": (
            "Synthetic faces were drawn by generative adversarial networks that learned from the "
            "databases named in the licence; no person was photographed for them."
        ),
        "rai:dataUseCases": [
            "facial-expression recognition with little data",
            "augmentation with synthetic pictures",
            "gates for synthetic data",
        ],
        "rai:dataLimitations": [
            "labels of synthetic faces are intentions, checked by a classifier and not by people",
            "a generator repeats the people, lighting and imbalances of its database",
        ],
        **_provenance(records, reads, licences),
        "distribution": [*_distribution(out, paths)],
        "recordSet": [
            *_labels(features),
            *(_record_set(recipe, features, columns) for recipe in paths),
        ],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (out / FILE).write_text(text + "\n", encoding="utf-8")


def _distribution(out: Path, paths: Mapping[str, Sequence[Path]]) -> Iterator[dict[str, Any]]:
    for recipe, files in paths.items():
        for path in files:
            place = path.relative_to(out).as_posix()
            yield {
                "@type": "cr:FileObject",
                "@id": place,
                "name": path.name,
                "contentUrl": place,
                "contentSize": f"{path.stat().st_size} B",
                "encodingFormat": PARQUET,
                "sha256": file_hash(path),
            }
        yield {
            "@type": "cr:FileSet",
            "@id": f"{recipe}-files",
            "name": f"{recipe}-files",
            "encodingFormat": PARQUET,
            "includes": f"{recipe}/*.parquet",
        }


def _labels(features: Features) -> Iterator[dict[str, Any]]:
    for column, feature in features.items():
        # predicted has the labels of emotion
        if not isinstance(feature, ClassLabel) or column == "predicted":
            continue
        split = column == "split"
        fields = {"code": "sc:Integer", "name": "sc:Text", **({"url": "sc:URL"} if split else {})}
        yield {
            "@type": "cr:RecordSet",
            "@id": f"{column}-labels",
            "name": f"{column}-labels",
            "dataType": "cr:Split" if split else "sc:Enumeration",
            "key": {"@id": f"{column}-labels/code"},
            "field": [
                {
                    "@type": "cr:Field",
                    "@id": f"{column}-labels/{field}",
                    "name": field,
                    "dataType": kind,
                }
                for field, kind in fields.items()
            ],
            "data": [
                {
                    f"{column}-labels/code": code,
                    f"{column}-labels/name": label,
                    **({f"{column}-labels/url": _SPLITS[label]} if split else {}),
                }
                for code, label in enumerate(feature.names)
            ],
        }


def _record_set(recipe: str, features: Features, columns: Mapping[str, str]) -> dict[str, Any]:
    fields = []
    for column, feature in features.items():
        field: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{recipe}/{column}",
            "name": column,
            "description": columns.get(column, column),
            "source": {"fileSet": {"@id": f"{recipe}-files"}, "extract": {"column": column}},
        }
        if isinstance(feature, ClassLabel):
            labels = "emotion" if column == "predicted" else column
            kinds = ["sc:Integer", *(["cr:Label"] if column == "emotion" else [])]
            field["dataType"] = kinds
            field["references"] = {"field": {"@id": f"{labels}-labels/code"}}
        elif isinstance(feature, ImageFeature):
            field["dataType"] = "sc:ImageObject"
            field["source"]["transform"] = {"jsonPath": "bytes"}
        else:
            field["dataType"] = _TYPES[feature.dtype]
        fields.append(field)
    return {
        "@type": "cr:RecordSet",
        "@id": recipe,
        "name": recipe,
        "key": {"@id": f"{recipe}/id"},
        "field": fields,
    }


def _provenance(
    records: Sequence[Record], reads: Sequence[Path], licences: Mapping[str, Licence]
) -> dict[str, Any]:
    """Return the lineage in PROV-O.

    Each finished folder is an entity, called by the hash of its content; the stage that made it is
    the activity that generated it, and used the entities before. The first are the databases. An
    entity is described where it is first met, and named by its id afterwards.
    """
    databases = [
        {
            "@type": "prov:Entity",
            "@id": f"urn:affectory:database:{database}",
            "name": licence.name,
            **({"url": licence.url} if licence.url else {}),
        }
        for database, licence in licences.items()
    ]
    known = {str(record.content.get("content")): record for record in records}
    told: set[str] = set()

    def entity(content: str) -> dict[str, Any]:
        record, place = known.get(content), f"urn:affectory:{content}"
        if record is None or content in told:
            return {"@id": place}
        told.add(content)
        before = [entity(name) for name in dict.fromkeys(_inputs(record))]
        if not before:
            before = [{"@id": database["@id"]} for database in databases]
        made = activity(f"{place}:{record.stage}", record.stage, before)
        name = record.name if record.name == record.stage else f"{record.stage} {record.name}"
        return {
            "@type": "prov:Entity",
            "@id": place,
            "name": name,
            "prov:wasGeneratedBy": made,
        }

    def activity(place: str, name: str, used: Sequence[dict[str, Any]]) -> dict[str, Any]:
        used = list(used)
        about = {"@type": "prov:Activity", "@id": place, "name": name}
        return {**about, **({"prov:used": used} if used else {})}

    folders = {record.folder.resolve(): content for content, record in known.items()}
    last = [folders[path.resolve()] for path in reads if path.resolve() in folders]
    agent = {"@type": "prov:SoftwareAgent", "@id": "urn:affectory", "name": "Affectory"}
    made = activity("urn:affectory:publish", "publish", [entity(content) for content in last])
    return {
        "prov:wasDerivedFrom": databases,
        "prov:wasGeneratedBy": {**made, "prov:wasAssociatedWith": agent},
    }


def _inputs(record: Record) -> list[str]:
    return [
        str(entry["content"])
        for entries in record.inputs.values()
        for entry in entries
        if entry.get("content")
    ]
