"""Open Clip Art Library: drawings in the public domain (Debian's `openclipart-png` and `openclipart-svg`).

The pictures are the PNG files. Their names come from the metadata of the SVG beside each, and want cleaning:
many titles name a series or the author, some are empty, some are Italian.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
import struct
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from genius.images import MAX_PIXELS
from genius.sources.picture import Picture

NAME = "clipart"
FOLDER = Path("/usr/share/openclipart")
HOW_TO_GET = "sudo apt-get install openclipart-png openclipart-svg"

# Gradients, pieces of a jigsaw, letters, regional flags; icon sets whose names only their authors understand;
# the same playing cards again in three other frames; empty pictures; what does not belong on a first screen.
_LEFT_OUT = re.compile(
    r"special/|shapes/(?:stars|jigsaw|flowchart)/|computer/icons/(?:flat|lemon|etiquette)-theme/"
    r"|signs_and_symbols/led/|signs_and_symbols/flags/\w+/.*/"
    r"|recreation/games/cards/(?:simple|bordered|ornamental|cardbacks)/"
    r"|.*(?:_symbol_1m|/aiga_\w+_\.|/tasto_|/bb_|/plastik_|/menu_example|/mpcad)"
    r"|.*(?:light_bulb_karl|badminton_racket|football_pitch__andy|teschio_fabio|zero_stars)"
    r"|.*(?:pantyhose|stripper|sexy|shadow_babe|bullet_hole)"
)
_NATIONAL_FLAG = re.compile(r"signs_and_symbols/flags/(?:africa|america|asia|europe|oceania)/")
_CARD = re.compile(r"white_([cdhs])_(\w+)")
_SUITS = {"c": "clubs", "d": "diamonds", "h": "hearts", "s": "spades"}
_RANKS = {"a": "ace", "j": "jack", "q": "queen", "k": "king"}

_NAMED_BY_FOLDER = {"shapes/callouts": "speech bubble", "people/stickmen": "stick man"}

_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
"""What Windows means by codes that are control characters elsewhere."""

_TITLE = re.compile(rb"<dc:title[^>]*>([^<]*)</dc:title>")
_KEYWORD = re.compile(rb"<rdf:li[^>]*>([^<]*)</rdf:li>")
_NO_KEYWORD = re.compile(
    r"hash|\d|0x|unsorted$|architett|.*openclipart|theme$|icons?$|signs_and_symbols$|11$", re.IGNORECASE
)
_SERIES = re.compile(
    r"(?i)clipart by |aiga_|part of the flat icon|various cliparts|.*(?:theme|iconset)$|.*\bsib?mission"
)
_MANY = 4
"""A title that so many pictures share, and that their file names do not repeat, names a series too."""

_SMALLEST_FILE = 200
"""Bytes; the few smaller ones are broken."""


@dataclass(frozen=True)
class _Work:
    """A picture and what its SVG says about it."""

    place: str
    file: Path
    titles: tuple[str, ...]
    keywords: tuple[str, ...]

    @property
    def title(self) -> str:
        """The work's own title; those after it name its publisher and creators."""
        return self.titles[0] if self.titles else ""


def pictures(folder: Path = FOLDER) -> list[Picture]:
    """Return every drawing that has a usable name; none if the packages are not installed."""
    if not (folder / "svg").is_dir():  # without the names the pictures would be other candidates
        return []
    works = [_read(place, folder) for place in _places(folder / "png")]
    sharing = Counter(work.title for work in works)
    found = []
    for work in works:
        text = _text(work, series=sharing[work.title] >= _MANY)
        if text:
            group = work.place.partition("/")[0].replace("_", " ")
            found.append(Picture(work.place, work.file, text, _aliases(text, work), group))
    return found


def _places(folder: Path) -> list[str]:
    """Return the pictures to use, sorted, without suffix; links and files of the same content only once."""
    by_size = defaultdict(list)
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            place = path.relative_to(folder).as_posix()
            if name.endswith(".png") and not path.is_symlink() and not _LEFT_OUT.match(place):
                by_size[path.stat().st_size].append((place.removesuffix(".png"), path))
    places: list[str] = []
    for size, files in by_size.items():
        if size >= _SMALLEST_FILE:
            # Only files of the same size can be the same file.
            content = {
                (_digest(path) if len(files) > 1 else place): place
                for place, path in sorted(files, reverse=True)
            }
            places += content.values()
    return sorted(places)


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _read(place: str, folder: Path) -> _Work:
    try:
        markup = (folder / "svg" / f"{place}.svg").read_bytes()
    except OSError:
        markup = b""
    titles = tuple(_decode(title) for title in _TITLE.findall(markup))
    keywords = (_decode(keyword).replace("_", " ") for keyword in _KEYWORD.findall(markup))
    kept = dict.fromkeys(keyword for keyword in keywords if keyword and not _NO_KEYWORD.match(keyword))
    drawing = folder / "png" / f"{place}.png"
    if _pixels(drawing) > MAX_PIXELS:
        drawing = folder / "svg" / f"{place}.svg"
    return _Work(place, drawing, titles, tuple(kept))


def _pixels(png: Path) -> int:
    """Return the number of pixels that the head of a PNG file announces."""
    with png.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return width * height


def _decode(raw: bytes) -> str:
    """Decode XML text; some were encoded twice, and some come from Windows."""
    text = html.unescape(html.unescape(raw.decode("utf-8", "replace"))).strip()
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text.translate(_WINDOWS)


def _text(work: _Work, *, series: bool) -> str:
    """Return what a person would call the picture: its title, or what its file name or keywords say."""
    folder, _, stem = work.place.rpartition("/")
    card = _CARD.fullmatch(stem)
    if card:
        return f"{_RANKS.get(card[2], card[2])} of {_SUITS[card[1]]}"
    from_title = "" if _SERIES.match(work.title) else _clean(work.title)
    if series and _first_word(stem) != _first_word(work.title):
        from_title = ""
    elsewhere = _NAMED_BY_FOLDER.get(folder) or _clean(_without_author(stem, work.titles[1:]))
    texts = (from_title, elsewhere, *work.keywords)
    text = _in_english(next((text for text in texts if _says_something(text)), ""))
    if text and _NATIONAL_FLAG.match(work.place) and "flag" not in text.lower():
        text = f"flag of {text.title() if text.islower() else text}"
    return text


def _aliases(text: str, work: _Work) -> tuple[str, ...]:
    """Return the text with the keywords that add to it."""
    known = text.lower()
    added = [keyword for keyword in work.keywords if keyword.lower() not in known][:4]
    return (f"{text}, {', '.join(added)}",) if added else ()


def _clean(text: str) -> str:
    """Remove what says nothing about the picture: numbers of a series, authors, kinds of file.

    >>> _clean("Dog_02 Drawn With Straight Lines (B and W)")
    'Dog Drawn With Straight Lines (black and white)'
    """
    text = re.sub(r"(?i)\(?\brollandin\b.*|architetto francesco.*|\(?email:.*|\S+@\S+|\.svg\b", "", text)
    text = re.sub(r"(?i)\s+-\s+(rpg map elements?|body part|clothing)$|^hotel icon (?=\w)", "", text)
    text = re.sub(r"(?i)\baiga\b|\bsvg\b|_?openclipart", "", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text.replace("_", " "))
    text = re.sub(r"(?i)\(b (?:and|&) w\)|\bb ?w$", "(black and white)", text)
    text = re.sub(r"#?\b0\d*\b|#\d+|(?<=[A-Za-z]{3})[ -]?\d+(?=\W*$|,)", " ", text)
    return re.sub(r"\s+", " ", text.replace(" ,", ",")).strip(" -.,:;")


def _without_author(stem: str, agents: tuple[str, ...]) -> str:
    """Return a file name's words without its author's, cut short there: `boy_astrid_grae_01`."""
    authors = [name for agent in agents for name in re.findall(r"\w+", agent.lower())]
    words = [word for word in re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", stem) if len(word) > 1]
    while words and any(name.startswith(words[-1].lower()) for name in authors):
        words.pop()
    return " ".join(word for word in words if word.lower() not in _EMPTY_WORDS)


def _first_word(text: str) -> str:
    return re.sub(r"[^a-z]+", " ", text.lower()).strip().partition(" ")[0]


def _says_something(text: str) -> bool:
    letters, digits = re.findall(r"[^\W\d_]", text), re.findall(r"\d", text)
    return len(letters) >= 2 and len(letters + digits) >= 3 and text.lower() not in _EMPTY_WORDS


def _in_english(text: str) -> str:
    """Translate an Italian or French title by its first two known words, which stand in the opposite order.

    >>> _in_english("Lucchetto grigio")
    'grey padlock'
    """
    known = [_GLOSSARY[word] for word in re.findall(r"[^\W\d_]+", text.lower()) if word in _GLOSSARY]
    return " ".join(reversed(list(dict.fromkeys(known))[:2])) or text


_EMPTY_WORDS = frozenset(
    {"people", "icon", "icons", "symbol", "sign", "sport", "clipart", "openclipart"}
    | {"bb", "rpswb", "aj", "md", "ppl"}
)

_FOREIGN = """
architetto: architect
acquila aquila: eagle; cigno cigni: swan; gabbiano: seagull; gallo: rooster; gallina: hen; gufo: owl
pollo: chicken; stormo: flock of birds; tacchino: turkey; uccello: bird; anatra papera: duck
colombo: pigeon; struzzo: ostrich; pinguino: penguin; pennuto: bird; cavalletta: grasshopper
coccinella coccinellona coccinelle: ladybug; farfalla farfalle: butterfly; formichina formicona: ant
insetto: insect; libellula libellule: dragonfly; lumaca: snail; mantide mante: praying mantis
moschito zanzara: mosquito; mostriciattolo: little monster; ragnetto ragno: spider; ape abeille: bee
miele: honey; dino dinosauro dinosauri: dinosaur; pescetto: fish
lucertola lucertolona lucertolone ramarro: lizard; rana: frog; antilope: antelope; orso ours: bear
leone: lion; tigre tigri: tiger; canguro: kangaroo; coniglio: rabbit; elefante elefantone: elephant
cavallo: horse; gatto gatti gattina: cat; cani: dog; pecora pecorella agnellini: sheep; stambecco: ibex
topo: mouse; toro: bull; vacca mucca mucche: cow; cammello: camel; lucchetto: padlock; paesaggio: landscape
marino: sea; egizio: Egyptian; poltrona: armchair; sedia: chair; ombrelloni: sun umbrella; legno: wooden
tavolo: table; casa: house; campagna: country; montagna: mountain; cubo: cube; pulsante: button
finestra finestre: window; schermo: screen; stampante: printer; disco: disk; foglio: sheet; mondo: globe
salvagente: lifebelt; borsa borsetta: bag; estiva: summer; cesto: basket; valigie: suitcases
decorazione: decoration; geometrico: geometric; motivo: pattern; casco: helmet; microfono: microphone
cinepresa: film camera; telecamera: video camera; birra: beer; lattine: cans; macchina: machine
fotografica: camera; caffe: coffee; tazza: cup; teiera: teapot; gelato: ice cream; torta: cake; prugna: plum
pera: pear; pesca: peach; fuoco: fire; campeggio: camping; frullatore: blender; pomodori: tomatoes
aglio: garlic; ravanello: radish; zucca: pumpkin; appunti: notes; calcolatrice: calculator; carta: paper
cassa: cash register; cestino: wastebasket; pieno: full; vuoto: empty; clessidra: hourglass
diagramma: diagram; fabbrica: factory; istogramma: bar chart; lana: wool; lettera: letter
pinzatrice: stapler; puntine: drawing pins; scotch: adhesive tape; tabella: table of data
telefono: telephone; dente: tooth; camicia: shirt; seta: silk; pattino: skate; donna: woman
incinta: pregnant; fata: fairy; bambina: little girl; nonno: grandfather
pattinatrice pattinatrici: ice skater; signore: gentleman; signorina: young lady; subacqueo: scuba diver
utente utenti: user; albero: tree; mazzo: bouquet; fiori: flower; pacco: package; regalo: gift
palloncini: balloons; anelli: rings; televisore: television; esperimento: experiment; chimico: chemical
pillole: pill; barattolo: jar; medicina: medicine; dottore: doctor; siringa: syringe
microscopio: microscope; provetta provette: test tube; attenzione: warning sign; orologio: clock
parete: wall; portafoglio: wallet; nucleare: nuclear; simbolo: symbol; giapponese: Japanese
binocolo: binoculars; bussola: compass; calamita: magnet; chiave: key; ferro: clothes iron
lente: magnifying glass; livella: spirit level; mattone: brick; dentata: gear; scolapasta: colander
secchio: bucket; sega: saw; viti: screws; pallone: balloon; aerestatico: hot air; bicicletta: bicycle
trattore: tractor; formulario: form; griglia: grid; orme: footprints; neve: snow; proiettore: projector
sapone: soap; liquido: liquid; scodella: bowl; tavolozza: palette; tenda: tent
condominio: apartment building; cornetto: croissant; montacarichi: forklift; pittura: painting
pennello: paintbrush; natale: Christmas; traslocatore: furniture mover; uovo: egg; sorridente: smiling
ambulanza: ambulance; asse: ironing board; betoniera: concrete mixer; calzettoni: socks
biberon: baby bottle; ghiaccio: ice; candela: candle; carpentiere: carpenter; carretta: wheelbarrow
ciuccio: pacifier; corridore: runner; fattoria: farm; festoni ghirlande: garlands; fiocco: bow
foglie: leaves; giardinaggio: gardening; grattacieli: skyscrapers; grondaia: gutter; guanti: gloves
imbianchino: house painter; lampada: lamp; metro: tape measure; motosega: chainsaw; pesistica: weightlifting
principessa: princess; ragazza: girl; ragazzo: boy; bionda: blonde; bruna: brunette; seduta: seated
cappello: hat; scala: ladder; scatolone: cardboard box; serratura: lock; spaventapasseri: scarecrow
stetoscopio: stethoscope; vestito: dress; tramezzino: sandwich; zaino: backpack; sacco: sleeping bag
teschio: skull; francobollo: postage stamp; forbici: scissors; pettine: comb; pannocchia: corn cob
cronometro: stopwatch; libro: book; cartella: folder; bottiglia: bottle; vino: wine; sole: sun
fiore: flower; forchettoni: grill forks; posate: cutlery; giallo gialla: yellow; rosso rosse: red
rossa: red-haired; verde verdi: green; grigio grigia grigi: grey; nero: black; bianco bianchi: white
arancione arancioni: orange; marroni: brown; viola: purple; rosa: pink; baloon: balloon; glace: ice cream
gateau: cake; pasteque: watermelon; sapin: fir tree; couronne: crown; nuage: cloud
extincteur: fire extinguisher; sortie: exit; secours: emergency; fumer: no smoking; toxique: toxic
corrosif: corrosive; mains: hand protection; tete: head protection; pieds: foot protection
ouie: hearing protection; vue: eye protection; potable: no drinking water; biologique: biohazard
rayonnement: laser radiation
"""
_GLOSSARY = {
    word: english
    for entry in _FOREIGN.replace("\n", ";").split(";")
    for words, english in [entry.strip().split(": ")] * bool(entry.strip())
    for word in words.split()
}
"""Italian and French words of titles; none of them an English word that other titles use."""
