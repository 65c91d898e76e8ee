"""Tables and JSON of the commands: drawn on a terminal, tab-separated lines where the output goes elsewhere."""

import json
import textwrap

from rich import box
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from keras_margin.cli import _words

# Characters that a column but the first keeps at least, where its widest word is not shorter.
_LEAST_WIDTH = 8


class Table:
    """Rows under headings, of which the first column is never cut.

    On a terminal the table is drawn; where that is narrow, cells but those of the first column wrap, and where it is
    too narrow even so, each row is a line of its first cell and the other cells below it. Elsewhere, as in a pipe or
    a file, the table is lines of cells separated by tabs, the headings first; title and caption begin with "# ".

    Args:
        columns: Headings, str; "" for none.
        title: Line above the table; None for none.
        caption: Line below it; None for none.
        left: Number of columns, from the first on, that are aligned at the left; the others are at the right.
        header: Whether the headings are shown.

    Example:
        >>> table = Table(["backbone", "parameters, M"])
        >>> table.add("mobilefacenet", "0.99")
        >>> table.show()
    """

    def __init__(self, columns, *, title=None, caption=None, left=1, header=True):
        self._columns = list(columns)
        self._title, self._caption = (None if text is None else _words.printable(text) for text in (title, caption))
        self._left, self._header = left, header
        self._rows = []

    def add(self, *cells, style=None):
        """Adds a row of str, as many as there are columns; `style` is rich's, of the drawn row."""
        if len(cells) != len(self._columns):
            raise ValueError(f"A row needs {len(self._columns)} cells. Received: {cells!r}.")
        self._rows.append(([_words.printable(cell) for cell in cells], style))

    def show(self, console=None):
        """Writes the table to a rich Console; None is one on standard output."""
        console = console or Console()
        if not console.is_terminal:
            # Past rich, which would turn tabs into spaces.
            console.file.write("".join(f"{line}\n" for line in self._lines()))
        elif self._needed_width() <= console.width:
            console.print(self._drawn())
        else:
            console.file.write("".join(f"{line}\n" for line in self._paragraphs(console.width)))

    def _lines(self):
        rows = ([self._columns] if self._header else []) + [cells for cells, _ in self._rows]
        title, caption = ([f"# {text}"] if text else [] for text in (self._title, self._caption))
        return [*title, *("\t".join(map(_one_line, cells)) for cells in rows), *caption]

    def _paragraphs(self, width):
        """Yields, for each row, the line of its first cell and indented lines of "heading: cell"."""
        if self._title:
            yield self._title
        for cells, _ in self._rows:
            yield cells[0]
            named = zip(self._columns[1:], cells[1:], strict=True)
            text = "; ".join(f"{name}: {_one_line(cell)}" if name else _one_line(cell) for name, cell in named if cell)
            yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        if self._caption:
            yield self._caption

    def _drawn(self):
        title, caption = (None if text is None else Text(text) for text in (self._title, self._caption))
        # Two characters between columns and no frame, so that as much as possible fits into 80.
        lean = {"box": box.SIMPLE_HEAD, "show_edge": False, "padding": (0, 1, 0, 0), "pad_edge": False}
        table = Drawn(title=title, caption=caption, show_header=self._header, **lean)
        table.title_justify = table.caption_justify = "left"
        for at, column in enumerate(self._columns):
            justify = "left" if at < self._left else "right"
            table.add_column(Text(column), justify=justify, no_wrap=at == 0, overflow="fold", min_width=self._width(at))
        for cells, style in self._rows:
            table.add_row(*map(Text, cells), style=style)
        return table

    def _width(self, at):
        """Returns how many characters a column keeps."""
        heading = self._columns[at] if self._header else ""
        cells = "\n".join(cells[at] for cells, _ in self._rows)
        if at == 0:
            return _widest([heading, *cells.split("\n")])
        return max(_widest(heading.split()), min(_LEAST_WIDTH, _widest(cells.split())))

    def _needed_width(self):
        return sum(self._width(at) + 2 for at in range(len(self._columns))) - 2


def _widest(texts):
    return max((Text(text).cell_len for text in texts), default=1)


def show_json(value, console=None):
    """Writes a value as JSON to a rich Console; None is one on standard output."""
    console = console or Console()
    text = json.dumps(value, indent=2, ensure_ascii=False)
    console.print(_words.printable(text), markup=False, highlight=False, soft_wrap=True)


def _one_line(cell):
    return "; ".join(cell.replace("\t", " ").splitlines())
