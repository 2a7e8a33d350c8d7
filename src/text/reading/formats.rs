//! File formats by their first bytes: those that are unpacked, and those that are rejected by name.

/// The number of bytes at the start of a file that [`Format::of`] looks at.
pub const HEAD: usize = 512;

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// None of the others: text, as far as one can see.
    Plain,
    /// A compressed stream.
    Packed(Packing),
    /// A zip archive.
    Zip,
    /// A format that is not read.
    Foreign(Foreign),
}

/// A compressed stream that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Blocks of the Burrows-Wheeler transform.
    Bzip2,
    /// LZMA2 in its container.
    Xz,
}

impl Packing {
    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }
}

/// What is to be unpacked, by a file's name: the name of its format in messages.
pub fn by_name(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match &*ending.to_ascii_lowercase() {
        "gz" => Packing::Gzip.name(),
        "zst" | "zstd" => Packing::Zstd.name(),
        "bz2" => Packing::Bzip2.name(),
        "xz" => Packing::Xz.name(),
        "zip" => "zip",
        _ => return None,
    })
}

/// A format that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The name, with its article.
    pub name: &'static str,
    /// What can be done.
    pub remedy: Remedy,
}

/// What helps with a format that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It contains files: unpack it.
    Unpack,
    /// It contains text in another form: convert it.
    Convert,
    /// It contains rows: export them.
    Export,
    /// It contains no text.
    None,
    /// `textgen compress` wrote it.
    Decompress,
}

const fn foreign(name: &'static str, remedy: Remedy) -> Format {
    Format::Foreign(Foreign { name, remedy })
}

/// The offset of magic bytes, and the bytes. A text may start with those that are words.
type Magic = (usize, &'static [u8]);

/// What is unpacked.
const READ: &[(Magic, Format)] = &[
    ((0, b"\x1F\x8B\x08"), Format::Packed(Packing::Gzip)),
    ((0, b"\x28\xB5\x2F\xFD"), Format::Packed(Packing::Zstd)),
    ((0, b"\xFD7zXZ\0"), Format::Packed(Packing::Xz)),
    ((0, b"PK\x03\x04"), Format::Zip),
    ((0, b"PK\x05\x06"), Format::Zip),
    ((0, b"PK\x07\x08"), Format::Zip),
];

/// What is rejected, by what helps.
const REJECTED: &[(Remedy, &[(Magic, &str)])] = &[
    (
        Remedy::Decompress,
        &[((0, b"\x93txg"), "a file that textgen compress wrote")],
    ),
    (
        Remedy::Unpack,
        &[
            ((257, b"ustar"), "a tar archive"),
            ((0, b"7z\xBC\xAF\x27\x1C"), "a 7z archive"),
            ((0, b"Rar!\x1A\x07"), "a RAR archive"),
            ((0, b"!<arch>\n"), "an ar archive or Debian package"),
            ((0, b"\x04\x22\x4D\x18"), "an lz4 file"),
            ((0, b"LZIP\x01"), "an lzip file"),
            ((0, b"\x1F\x9D"), "a file of Unix compress (.Z)"),
            ((0, b"MSCF\0\0\0\0"), "a cabinet archive"),
            ((0, b"\xED\xAB\xEE\xDB"), "an RPM package"),
        ],
    ),
    (
        Remedy::Convert,
        &[
            ((0, b"%PDF-"), "a PDF document"),
            ((0, b"{\\rtf"), "an RTF document"),
            (
                (0, b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"),
                "an old Microsoft Office document (.doc, .xls, .ppt)",
            ),
            ((60, b"BOOKMOBI"), "a Mobipocket or Kindle book"),
            ((0, b"AT&TFORM"), "a DjVu document"),
        ],
    ),
    (
        Remedy::Export,
        &[
            ((0, b"SQLite format 3\0"), "an SQLite database"),
            ((4, b"Standard Jet DB"), "an Access database"),
            ((4, b"Standard ACE DB"), "an Access database"),
            ((0, b"PAR1"), "a Parquet file"),
            ((0, b"ARROW1\0\0"), "an Arrow file"),
            ((0, b"Obj\x01"), "an Avro file"),
            ((0, b"\x89HDF\r\n\x1A\n"), "an HDF5 file"),
            ((0, b"\x93NUMPY"), "a NumPy array"),
        ],
    ),
    (
        Remedy::None,
        &[
            ((0, b"GGUF"), "a GGUF model"),
            ((0, b"\x89PNG\r\n\x1A\n"), "a PNG image"),
            ((0, b"\xFF\xD8\xFF"), "a JPEG image"),
            ((0, b"GIF87a"), "a GIF image"),
            ((0, b"GIF89a"), "a GIF image"),
            ((0, b"II*\0"), "a TIFF image"),
            ((0, b"MM\0*"), "a TIFF image"),
            ((8, b"WEBP"), "a WebP image"),
            ((8, b"WAVEfmt "), "a WAV recording"),
            ((8, b"AVI LIST"), "an AVI film"),
            ((4, b"ftyp"), "a film, recording or image of the MP4 family"),
            ((0, b"\x1A\x45\xDF\xA3"), "a Matroska or WebM film"),
            ((0, b"OggS\0"), "an Ogg recording"),
            ((0, b"fLaC\0"), "a FLAC recording"),
            ((0, b"ID3\x02"), "an MP3 recording"),
            ((0, b"ID3\x03"), "an MP3 recording"),
            ((0, b"ID3\x04"), "an MP3 recording"),
            ((0, b"\x7FELF"), "a program (ELF)"),
            ((0, b"\xCF\xFA\xED\xFE"), "a program (Mach-O)"),
            ((0, b"\xCA\xFE\xBA\xBE"), "a program (Java or Mach-O)"),
            ((0, b"MZ\x90\0"), "a program for Windows"),
            ((0, b"\0asm"), "a WebAssembly program"),
            ((0, b"wOFF\0"), "a font"),
            ((0, b"wOF2\0"), "a font"),
            ((0, b"\0\x01\0\0\0"), "a font"),
        ],
    ),
];

/// Magic bytes of files that can be all printable characters.
const PRINTABLE: [&[u8]; 2] = [b"%PDF-", b"{\\rtf"];
/// The block's magic number after `BZh` and the level, which is π, and that of an empty file, √π.
const BZIP2: [&[u8]; 2] = [b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"];

/// Whether there are control characters that no text has.
fn has_controls(head: &[u8]) -> bool {
    let is_of_text = |byte: &u8| *byte >= b' ' || b"\t\n\x0B\x0C\r\x08\x1B\x1A".contains(byte);
    !head.iter().all(is_of_text)
}

impl Format {
    /// The format of a file that starts with `head`, its first [`HEAD`] bytes.
    pub fn of(head: &[u8]) -> Self {
        let has = |&(at, magic): &Magic| {
            head.get(at..).is_some_and(|rest| rest.starts_with(magic))
                && (has_controls(head)
                    || PRINTABLE.contains(&magic)
                    || !magic.iter().all(|byte| (b' '..=b'~').contains(byte)))
        };
        if let Some(&(_, format)) = READ.iter().find(|(magic, _)| has(magic)) {
            return format;
        }
        for &(remedy, formats) in REJECTED {
            if let Some((_, name)) = formats.iter().find(|(magic, _)| has(magic)) {
                return foreign(name, remedy);
            }
        }
        match head {
            [b'B', b'Z', b'h', b'1'..=b'9', block @ ..]
                if BZIP2.iter().any(|magic| block.starts_with(magic)) =>
            {
                Self::Packed(Packing::Bzip2)
            }
            // The size of the text, or that it is unknown.
            [
                0x5D,
                0,
                0,
                _,
                _,
                0xFF,
                0xFF,
                0xFF,
                0xFF,
                0xFF,
                0xFF,
                0xFF,
                0xFF,
                ..,
            ]
            | [0x5D, 0, 0, _, _, _, _, _, _, _, 0, 0, 0, ..] => {
                foreign("a file of the old LZMA format (.lzma)", Remedy::Unpack)
            }
            // A frame to skip, which some tools write first.
            [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Self::Packed(Packing::Zstd),
            // A header of 14 bytes with two zero fields, and the size of the next header.
            [
                b'B',
                b'M',
                _,
                _,
                _,
                _,
                0,
                0,
                0,
                0,
                _,
                _,
                _,
                _,
                12 | 40 | 108 | 124,
                0,
                0,
                0,
                ..,
            ] => foreign("a BMP image", Remedy::None),
            // The length of the JSON header in 8 bytes, and its first byte.
            [_, _, _, _, 0, 0, 0, 0, b'{', ..] => foreign("a safetensors model", Remedy::None),
            _ => Self::Plain,
        }
    }
}

/// What a zip archive with these members is, if it is a document or program rather than an archive of texts.
pub fn of_members<'a>(names: &(impl Iterator<Item = &'a str> + Clone)) -> Option<Foreign> {
    let has = |part: &str| names.clone().any(|name| name.starts_with(part));
    let ends = |part: &str| names.clone().any(|name| name.ends_with(part));
    let office = has("[Content_Types].xml");
    let (name, remedy) = if office && has("word/") {
        ("a Word document (.docx)", Remedy::Convert)
    } else if office && has("xl/") {
        ("an Excel workbook (.xlsx)", Remedy::Export)
    } else if office && has("ppt/") {
        ("a PowerPoint presentation (.pptx)", Remedy::Convert)
    } else if has("META-INF/container.xml") && has("mimetype") {
        ("an EPUB book", Remedy::Convert)
    } else if has("META-INF/manifest.xml") && has("mimetype") {
        ("an OpenDocument file (.odt, .ods)", Remedy::Convert)
    } else if has("META-INF/MANIFEST.MF") {
        ("a program (Java or Android)", Remedy::None)
    } else if ends("/data.pkl") {
        ("a PyTorch model", Remedy::None)
    } else if ends(".npy") {
        ("a NumPy archive (.npz)", Remedy::Export)
    } else {
        return None;
    };
    Some(Foreign { name, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_start_almost_like_a_format_are_texts() {
        for text in [
            "BM is a pair of letters, as is MZ",
            "BZh is no word",
            "PK and the others",
            "GIF images are small",
            "ID3 tags",
            "Rare words",
            "PDF documents",
            "GIF89a is a format.",
            "PAR1 and PAR2",
            "GGUF, a format",
            "A text: WEBP",
            "1st ftyp",
            "{\"text\": \"rtf\"}",
            "",
        ] {
            assert_eq!(Format::of(text.as_bytes()), Format::Plain, "{text}");
        }
    }

    #[test]
    fn magic_bytes_name_the_format() {
        let named = |head: &[u8]| match Format::of(head) {
            Format::Foreign(foreign) => foreign.name,
            other => panic!("{other:?}"),
        };
        assert_eq!(named(b"%PDF-1.7\n"), "a PDF document");
        assert_eq!(named(b"{\\rtf1\\ansi"), "an RTF document");
        assert_eq!(named(b"RIFF\x24\0\0\0WAVEfmt "), "a WAV recording");
        assert_eq!(named(b"\x40\0\0\0\0\0\0\0{\"__meta"), "a safetensors model");
        assert!(named(&crate::compress::MAGIC).contains("textgen compress"));
        let lzma = b"\x5D\0\0\x80\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0";
        assert_eq!(named(lzma), "a file of the old LZMA format (.lzma)");
        assert_eq!(named(b"GIF89a\x01\0\x01\0"), "a GIF image");
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(named(&tar), "a tar archive");
    }
}
