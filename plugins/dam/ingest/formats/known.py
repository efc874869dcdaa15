"""The formats that are known: what they are called, what they are, and who looks into them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    :param media_type: IANA's name, or the usual one where there is none.
    :param kind: ``image``, ``vector``, ``document``, ``video``, ``audio``, ``model``, ``font``, ``archive`` or
        ``opaque``: of the asset.
    :param extensions: it is known by, the usual one first; a file with another is served under the first.
    :param inspector: the module of :mod:`dam.ingest.inspectors` that looks into it; empty where none can.
    """

    media_type: str
    kind: str
    extensions: tuple[str, ...]
    inspector: str = ""


OPAQUE = Format("application/octet-stream", "opaque", ())

# ------------------------------------------------------------------------------------------------ pictures

JPEG = Format("image/jpeg", "image", ("jpg", "jpeg", "jpe", "jfif", "jif", "mpo"), "raster")
PNG = Format("image/png", "image", ("png", "apng"), "raster")
GIF = Format("image/gif", "image", ("gif",), "raster")
TIFF = Format("image/tiff", "image", ("tif", "tiff", "btf", "tf8"), "raster")
WEBP = Format("image/webp", "image", ("webp",), "raster")
AVIF = Format("image/avif", "image", ("avif", "avifs"), "raster")
HEIC = Format("image/heic", "image", ("heic", "heif", "hif", "heics", "heifs"), "raster")
JXL = Format("image/jxl", "image", ("jxl",), "raster")
BMP = Format("image/bmp", "image", ("bmp", "dib"), "raster")
JP2 = Format("image/jp2", "image", ("jp2", "jpx", "jpf", "j2k", "j2c", "jpc"), "raster")
PSD = Format("image/vnd.adobe.photoshop", "image", ("psd", "psdt"), "raster")
PSB = Format("image/vnd.adobe.photoshop", "image", ("psb",), "raster")

#: A camera's raw file whose maker is not told apart.
RAW = Format(
    "image/x-raw", "image",
    ("raw", "nef", "nrw", "cr2", "arw", "sr2", "srf", "pef", "srw", "dng", "3fr", "fff", "iiq", "mos", "mrw", "erf",
     "kdc", "dcr", "mef", "rwl", "orf", "rw2", "raf", "gpr", "x3f", "tif"), "raster",
)  # fmt: skip
DNG = Format("image/x-adobe-dng", "image", ("dng", "gpr"), "raster")
CR2 = Format("image/x-canon-cr2", "image", ("cr2",), "raster")
CR3 = Format("image/x-canon-cr3", "image", ("cr3",), "raster")
NEF = Format("image/x-nikon-nef", "image", ("nef", "nrw"), "raster")
ARW = Format("image/x-sony-arw", "image", ("arw", "sr2", "srf"), "raster")
RAF = Format("image/x-fuji-raf", "image", ("raf",), "raster")
ORF = Format("image/x-olympus-orf", "image", ("orf", "ori"), "raster")
RW2 = Format("image/x-panasonic-rw2", "image", ("rw2", "raw", "rwl"), "raster")
PEF = Format("image/x-pentax-pef", "image", ("pef",), "raster")
#: Cameras' raw files, whoever made the camera.
RAWS = (RAW, DNG, CR2, CR3, NEF, ARW, RAF, ORF, RW2, PEF)
#: How cameras' raw files are named, in lower case.
RAW_EXTENSIONS = frozenset(extension for raw in RAWS for extension in raw.extensions)

EXR = Format("image/x-exr", "image", ("exr",))
XCF = Format("image/x-xcf", "image", ("xcf",))
ICO = Format("image/vnd.microsoft.icon", "image", ("ico",))
DDS = Format("image/vnd-ms.dds", "image", ("dds",))

# ------------------------------------------------------------------------------- drawings, pages, office files

SVG = Format("image/svg+xml", "vector", ("svg",), "svg")
SVGZ = Format("image/svg+xml", "vector", ("svgz",), "svg")
AI = Format("application/vnd.adobe.illustrator", "vector", ("ai", "pdf"), "pdf")
AI_PS = Format("application/vnd.adobe.illustrator", "vector", ("ai", "eps", "ps"), "postscript")
EPS = Format("application/eps", "vector", ("eps", "epsf", "epsi", "ai"), "postscript")
PS = Format("application/postscript", "document", ("ps", "prn"), "postscript")
PDF = Format("application/pdf", "document", ("pdf", "ai"), "pdf")

_OOXML = "application/vnd.openxmlformats-officedocument"
DOCX = Format(f"{_OOXML}.wordprocessingml.document", "document", ("docx",), "office")
DOTX = Format(f"{_OOXML}.wordprocessingml.template", "document", ("dotx",), "office")
XLSX = Format(f"{_OOXML}.spreadsheetml.sheet", "document", ("xlsx",), "office")
XLTX = Format(f"{_OOXML}.spreadsheetml.template", "document", ("xltx",), "office")
PPTX = Format(f"{_OOXML}.presentationml.presentation", "document", ("pptx",), "office")
POTX = Format(f"{_OOXML}.presentationml.template", "document", ("potx",), "office")
PPSX = Format(f"{_OOXML}.presentationml.slideshow", "document", ("ppsx",), "office")
DOCM = Format("application/vnd.ms-word.document.macroenabled.12", "document", ("docm",), "office")
DOTM = Format("application/vnd.ms-word.template.macroenabled.12", "document", ("dotm",), "office")
XLSM = Format("application/vnd.ms-excel.sheet.macroenabled.12", "document", ("xlsm",), "office")
XLTM = Format("application/vnd.ms-excel.template.macroenabled.12", "document", ("xltm",), "office")
XLAM = Format("application/vnd.ms-excel.addin.macroenabled.12", "document", ("xlam",), "office")
XLSB = Format("application/vnd.ms-excel.sheet.binary.macroenabled.12", "document", ("xlsb",), "office")
PPTM = Format("application/vnd.ms-powerpoint.presentation.macroenabled.12", "document", ("pptm",), "office")
POTM = Format("application/vnd.ms-powerpoint.template.macroenabled.12", "document", ("potm",), "office")
PPSM = Format("application/vnd.ms-powerpoint.slideshow.macroenabled.12", "document", ("ppsm",), "office")
PPAM = Format("application/vnd.ms-powerpoint.addin.macroenabled.12", "document", ("ppam",), "office")
_ODF = "application/vnd.oasis.opendocument"
ODT = Format(f"{_ODF}.text", "document", ("odt",), "office")
OTT = Format(f"{_ODF}.text-template", "document", ("ott",), "office")
ODS = Format(f"{_ODF}.spreadsheet", "document", ("ods",), "office")
OTS = Format(f"{_ODF}.spreadsheet-template", "document", ("ots",), "office")
ODP = Format(f"{_ODF}.presentation", "document", ("odp",), "office")
OTP = Format(f"{_ODF}.presentation-template", "document", ("otp",), "office")
ODG = Format(f"{_ODF}.graphics", "document", ("odg",), "office")
DOC = Format("application/msword", "document", ("doc", "dot", "wiz"), "office")
XLS = Format("application/vnd.ms-excel", "document", ("xls", "xlt", "xla"), "office")
PPT = Format("application/vnd.ms-powerpoint", "document", ("ppt", "pps", "pot"), "office")
RTF = Format("application/rtf", "document", ("rtf", "doc"), "office")
#: A password around a new office file looks like an old one.
LOCKED_OFFICE = Format("application/x-ole-storage", "document",
                       ("docx", "xlsx", "pptx", "docm", "xlsm", "pptm"), "office")  # fmt: skip
OLE = Format("application/x-ole-storage", "opaque", ("ole", "msg", "max", "fla", "db"))

TEXT = Format(
    "text/plain", "document",
    ("txt", "text", "md", "markdown", "log", "srt", "csv", "tsv", "json", "xml", "yaml", "yml", "ini", "cfg", "toml",
     "tex", "asc", "rst", "mtl", "cube", "css", "edl", "ass", "ssa", "sbv", "lrc", "fountain", "url"), "text",
)  # fmt: skip
CSV = Format("text/csv", "document", ("csv", "tsv", "tab", "txt"), "text")
VTT = Format("text/vtt", "document", ("vtt",), "text")
JSON = Format("application/json", "document", ("json", "geojson", "lottie", "har", "map", "txt"), "text")
XML = Format("application/xml", "document", ("xml", "fcpxml", "xmeml", "ttml", "dfxp", "rss", "xsd", "txt"), "text")
XMP = Format("application/rdf+xml", "document", ("xmp", "rdf", "xml"), "text")

EPUB = Format("application/epub+zip", "document", ("epub",))
IDML = Format("application/vnd.adobe.indesign-idml-package", "document", ("idml", "idmt"))
INDD = Format("application/x-indesign", "document", ("indd", "indt", "indb"))
XD = Format("application/vnd.adobe.xd", "document", ("xd",))
SKETCH = Format("application/vnd.sketch", "document", ("sketch",))
IWORK = Format("application/vnd.apple.iwork", "document", ("pages", "numbers", "key"))
KRITA = Format("application/x-krita", "image", ("kra", "krz"))
OPENRASTER = Format("image/openraster", "image", ("ora",))

# ------------------------------------------------------------------------------------------ video and audio

MP4 = Format("video/mp4", "video", ("mp4", "m4v", "mpg4", "f4v", "lrv", "insv"), "av")
M4V = Format("video/x-m4v", "video", ("m4v", "mp4"), "av")
MOV = Format("video/quicktime", "video", ("mov", "qt"), "av")
TGP = Format("video/3gpp", "video", ("3gp", "3gpp", "3g2", "mp4"), "av")
MKV = Format("video/matroska", "video", ("mkv", "mk3d"), "av")
MKA = Format("audio/matroska", "audio", ("mka",), "av")
WEBM = Format("video/webm", "video", ("webm",), "av")
WEBA = Format("audio/webm", "audio", ("weba", "webm"), "av")
AVI = Format("video/x-msvideo", "video", ("avi", "divx"), "av")
MPEG_TS = Format("video/mp2t", "video", ("ts", "mts", "m2ts", "m2t", "tp"), "av")
MPEG_PS = Format("video/mpeg", "video", ("mpg", "mpeg", "m1v", "m2v", "m2p", "vob", "mod"), "av")
MXF = Format("application/mxf", "video", ("mxf",), "av")
WMV = Format("video/x-ms-wmv", "video", ("wmv", "asf"), "av")
FLV = Format("video/x-flv", "video", ("flv",), "av")
OGV = Format("video/ogg", "video", ("ogv", "ogg", "ogx"), "av")
WAV = Format("audio/wav", "audio", ("wav", "wave", "bwf", "rf64"), "av")
AIFF = Format("audio/aiff", "audio", ("aif", "aiff", "aifc"), "av")
FLAC = Format("audio/flac", "audio", ("flac",), "av")
MP3 = Format("audio/mpeg", "audio", ("mp3", "mpga", "mp2", "mp1"), "av")
AAC = Format("audio/aac", "audio", ("aac", "adts"), "av")
OGG = Format("audio/ogg", "audio", ("ogg", "oga", "spx"), "av")
OPUS = Format("audio/ogg", "audio", ("opus", "ogg", "oga"), "av")
M4A = Format("audio/mp4", "audio", ("m4a", "m4b", "m4p", "m4r", "mp4"), "av")
WMA = Format("audio/x-ms-wma", "audio", ("wma", "asf"), "av")
CAF = Format("audio/x-caf", "audio", ("caf",), "av")
MIDI = Format("audio/midi", "audio", ("mid", "midi"))

# ------------------------------------------------------------------------------------------ models and fonts

GLTF = Format("model/gltf+json", "model", ("gltf", "json"), "model")
GLB = Format("model/gltf-binary", "model", ("glb",), "model")
USDZ = Format("model/vnd.usdz+zip", "model", ("usdz",), "model")
USDA = Format("model/vnd.usda", "model", ("usda", "usd"), "model")
USDC = Format("model/vnd.usdc", "model", ("usdc", "usd"), "model")
OBJ = Format("model/obj", "model", ("obj",), "model")
STL = Format("model/stl", "model", ("stl",), "model")
PLY = Format("model/ply", "model", ("ply",), "model")
FBX = Format("model/vnd.fbx", "model", ("fbx",))
DAE = Format("model/vnd.collada+xml", "model", ("dae",))
THREE_MF = Format("model/3mf", "model", ("3mf",))
BLEND = Format("application/x-blender", "model", ("blend",))
DWG = Format("image/vnd.dwg", "vector", ("dwg",))

TTF = Format("font/ttf", "font", ("ttf", "otf"), "font")
OTF = Format("font/otf", "font", ("otf", "ttf"), "font")
TTC = Format("font/collection", "font", ("ttc", "otc"), "font")
WOFF = Format("font/woff", "font", ("woff",), "font")
WOFF2 = Format("font/woff2", "font", ("woff2",), "font")
TYPE1 = Format("application/x-font-type1", "font", ("pfb", "pfa"))

# ------------------------------------------------------------------------------------------------- archives

ZIP = Format("application/zip", "archive", ("zip", "cbz", "kmz"))
TAR = Format("application/x-tar", "archive", ("tar",))
TAR_GZ = Format("application/gzip", "archive", ("tgz", "gz"))
TAR_BZ2 = Format("application/x-bzip2", "archive", ("tbz", "tbz2", "bz2"))
TAR_XZ = Format("application/x-xz", "archive", ("txz", "xz"))
GZIP = Format("application/gzip", "archive", ("gz",))
BZIP2 = Format("application/x-bzip2", "archive", ("bz2",))
XZ = Format("application/x-xz", "archive", ("xz",))
ZSTD = Format("application/zstd", "archive", ("zst", "tzst"))
SEVEN_ZIP = Format("application/x-7z-compressed", "archive", ("7z",))
RAR = Format("application/vnd.rar", "archive", ("rar", "cbr"))
CAB = Format("application/vnd.ms-cab-compressed", "archive", ("cab",))

# ------------------------------------------------------------------------------------------------- programs

ELF = Format("application/x-elf", "opaque", ("elf", "so", "bin"))
PE = Format("application/vnd.microsoft.portable-executable", "opaque", ("exe", "dll", "scr", "com", "cpl", "sys"))
MACH_O = Format("application/x-mach-binary", "opaque", ("dylib", "bin"))
CLASS = Format("application/java-vm", "opaque", ("class",))
JAR = Format("application/java-archive", "opaque", ("jar", "war"))
APK = Format("application/vnd.android.package-archive", "opaque", ("apk",))
MSI = Format("application/x-msi", "opaque", ("msi", "msp"))
WASM = Format("application/wasm", "opaque", ("wasm",))
SHORTCUT = Format("application/x-ms-shortcut", "opaque", ("lnk",))
HTML = Format("text/html", "opaque", ("html", "htm", "xhtml", "mht"))
SCRIPT = Format("text/x-script", "opaque",
                ("sh", "py", "js", "mjs", "vbs", "ps1", "bat", "cmd", "php", "pl", "rb", "hta"))  # fmt: skip

#: What runs where it is opened, and what it is called: never an asset.
PROGRAMS: dict[Format, str] = {
    ELF: "a program for Linux",
    PE: "a program for Windows",
    MACH_O: "a program for macOS",
    CLASS: "a Java program",
    JAR: "a Java program",
    APK: "a program for Android",
    MSI: "an installer for Windows",
    WASM: "a program for browsers",
    SHORTCUT: "a shortcut of Windows, which can start programs",
    HTML: "a web page, which can run scripts where it is opened",
    SCRIPT: "a script",
}

#: Media types by which office containers name themselves: ODF's ``mimetype`` entry, and others of its like.
BY_MIMETYPE: dict[str, Format] = {
    found.media_type: found
    for found in (ODT, OTT, ODS, OTS, ODP, OTP, ODG, EPUB, IDML, KRITA, OPENRASTER)
} | {"application/vnd.adobe.sparkler.project+dcxucf": XD}  # fmt: skip

#: Content types of the main part of an Office Open XML file (ECMA-376 part 1, and Microsoft's for macros).
BY_MAIN_PART: dict[str, Format] = {
    f"{_OOXML}.wordprocessingml.document.main+xml": DOCX,
    f"{_OOXML}.wordprocessingml.template.main+xml": DOTX,
    f"{_OOXML}.spreadsheetml.sheet.main+xml": XLSX,
    f"{_OOXML}.spreadsheetml.template.main+xml": XLTX,
    f"{_OOXML}.presentationml.presentation.main+xml": PPTX,
    f"{_OOXML}.presentationml.template.main+xml": POTX,
    f"{_OOXML}.presentationml.slideshow.main+xml": PPSX,
    "application/vnd.ms-word.document.macroenabled.main+xml": DOCM,
    "application/vnd.ms-word.template.macroenabledtemplate.main+xml": DOTM,
    "application/vnd.ms-excel.sheet.macroenabled.main+xml": XLSM,
    "application/vnd.ms-excel.template.macroenabled.main+xml": XLTM,
    "application/vnd.ms-excel.addin.macroenabled.main+xml": XLAM,
    "application/vnd.ms-excel.sheet.binary.macroenabled.main": XLSB,
    "application/vnd.ms-powerpoint.presentation.macroenabled.main+xml": PPTM,
    "application/vnd.ms-powerpoint.template.macroenabled.main+xml": POTM,
    "application/vnd.ms-powerpoint.slideshow.macroenabled.main+xml": PPSM,
    "application/vnd.ms-powerpoint.addin.macroenabled.main+xml": PPAM,
    "application/vnd.ms-package.3dmanufacturing-3dmodel+xml": THREE_MF,
}
