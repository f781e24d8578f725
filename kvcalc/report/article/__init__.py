"""The article: what the long-context techniques of a survey cost on hardware, technique by technique, as Markdown and as one page.

`techniques` says what the article is about (data); `words`, `numbers` and `drawings` make its paragraphs, tables and figures from specs,
ledger and checks; `compose` puts them in order as neutral blocks (`blocks`); `markdown` and `page` write these; `folder` makes files.
"""

from kvcalc.report.article.compose import Asked, article
from kvcalc.report.article.folder import write

__all__ = ["Asked", "article", "write"]
