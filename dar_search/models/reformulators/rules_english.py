"""What the rules reformulator knows of English: tables of patterns, all on lower-case text without final marks."""

from __future__ import annotations

import re

BE = "(?:is|are|was|were)"
DET = "(?:the|a|an|his|her|its|their|this|these|that|those|your|any|some)"
PRONOUN = "(?:it|he|she|they|this|that|these|those)"
SUBJECT = rf"(?P<s>{DET}(?: (?!(?:on|in|of|at|by|with|to|the|a)\b)[\w'-]+)+?|{PRONOUN})"
HOW = r"(?:is|are|does|do) (?P<s>.+?)(?: look| appear| seem)?(?: to be)?"


def _table(*rows: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), meaning) for pattern, meaning in rows)


#: A question for a value -> what kind of value. `s` is the thing asked about, `v` a verb to keep, `o` alternatives.
ASKED = _table(
    (rf"(?:what|which) colou?rs? {BE} (?P<s>.+)", "colour"),
    (r"(?:what|which) colou?r (?P<s>[\w-]+) (?:does|do|is|are)\b.*", "colour"),
    (r"(?:what|which) colou?r (?:does|do) (?P<s>.+) have", "colour"),
    (rf"(?:what {BE} )?(?:the )?colou?rs? of (?P<s>.+)", "colour"),
    (r"(?P<s>.+), (?:what|which) colou?r", "colour"),
    (rf"what {BE} (?P<s>.+) painted in", "colour"),
    (rf"(?:about |approximately )?(?:how old|how young|what age) {HOW}", "age"),
    (r"how (?:old|young) (?:do|would) you (?:think|say|guess) (?P<s>.+?) (?:is|are)", "age"),
    (rf"(?:about )?how (?:big|large|small|tall|long|wide) {HOW}", "size"),
    (rf"(?:what(?: {BE})? )?(?:the )?size (?:of|{BE}) (?P<s>.+)", "size"),
    (r"(?:does|do) (?P<s>.+) have (?:any|a|some) (?:pattern|design|texture)s?", "pattern"),
    (
        rf"(?:what (?:{BE}|does) )?the (?:surface|pattern|texture|design) (?:of|on) (?P<s>.+?)(?: look)?(?: like)?",
        "pattern",
    ),
    (rf"what {BE} (?P<s>.+?) made (?:out )?(?:of|from)", "material"),
    (rf"where (?:{BE}|would i find|can i find|do you see) (?P<s>.+?)(?: located| taken| at)?", "place"),
    (rf"on (?:which|what) side {BE} (?P<s>.+)", "place"),
    (r"where (?P<s>.+) (?:is|are)", "place"),
    (r"how many (?P<s>.+?)(?:,? (?:are|is|do|does|can|could|did|have|in|on|at|of)\b.*)?", "count"),
    (r"what (?:kind|type|sort|breed|style|brand|make)s?(?: of)? (?P<s>[\w-]+)\b.*", "sort"),
    (rf"what {BE} (?P<s>.+?) (?P<v>[a-z]+ing)\b.*", "action"),
    (rf"(?:what|how) (?:{BE}|does|do) (?P<s>.+?) (?:like|look like|look|appear to be|made up of)", "look"),
    (rf"(?:{BE}|does|do) {SUBJECT}(?: look| appear)?(?: to be)? (?P<o>[\w-]+(?:, [\w-]+)*,? or (?:an? )?[\w-]+)", ""),
)

#: A yes/no question -> the statement that a "yes" makes of it; the first that matches.
AFFIRMED = _table(
    (r"(?:can|could) you (?:tell|make out|read|guess)(?: if| that| it's)? (?P<p>(?:it|this|he|she|they) .+)", "{p}"),
    (r"(?:can|could|do|would) you (?:tell|make out|read|guess|like|know|want|recogni[sz]e)\b.*", ""),
    (r"(?:do|would|can) you (?:think|believe|say)(?: that)?(?: (?:it|this)(?:'s| is))? (?P<p>.+)", "{p}"),
    (r".*\b(?:anything|something|anybody|anyone|someone|what) else\b.*|(?:is|are) there any others?", ""),
    (rf"(?:{BE} (?:there|their|they) |{BE} (?=any ))(?:any )?(?:of \w+ )?(?P<p>.+)", "{p}"),
    (r"(?:(?:can|could|do|did) (?:you|we|i) (?:also |actually )?)?see (?:any |a lot of )?(?P<p>.+)", "{p}"),
    (r"(?:any|how about|what about) (?P<p>.+)", "{p}"),
    (rf"(?:{BE}|can|could) (?:any )?(?P<p>.+?) (?:visible|be seen)(?: .*)?", "{p}"),
    (rf"{BE} (?:it|this|that|these|those) (?P<p>.+)|(?:it|this)(?:'s| is) (?P<q>.+)", "{p}{q}"),
    (rf"(?P<b>{BE}) (?P<s>he|she|they|everyone|everybody|someone|both|all|1) (?P<p>.+)", "{s} {b} {p}"),
    (
        rf"{BE} {DET} (?P<s>[\w'-]+(?: shape)?) (?P<p>(?!alone|asleep|awake|there|in|on|\w+side|\w+doors|\w+ing)\w+)",
        "{p} {s}",
    ),
    (rf"{BE} (?P<p>.+)", "{p}"),
    (r"(?:does|did) (?:it|this|that) (?P<v>have|look|appear|seem|show|contain)\b(?P<p>.*)", "{v} {p}"),
    (r"(?:does|did) (?P<s>.+?) (?P<v>have|look|appear|seem|wear|contain|match)\b(?P<p>.*)", "{s} {v} {p}"),
    (r"(?:has|have|does|do|did|can|could|would|will|should) (?P<p>.+)", "{p}"),
    (r"(?!(?:what|which|who|whose|where|when|why|how)\b)(?P<p>.+)", "{p}"),
)
THIRD_PERSON = {"have": "has", "match": "matches"}  # the other verbs of the table take an "s"

YES = re.compile(r"(?:yes|yeah|yep|yup|yea|sure|correct|of course|definitely|absolutely)\b[\s,.;:!-]*")
#: "no" as a whole answer, or before a correction: "no, red", "no it is red"; but not in "no people".
NO = re.compile(r"(?:no|nope|nah)(?:\s*[,.;:!-]\s*|\s+(?=(?:it|they|he|she|this)(?:'s|'re| is| are| looks?)\b)|$)")
CLAUSE_END = re.compile(r"\s*[,;:!](?:\s+|$)|\.\s+|\s+(?:but|though|although|because|since)\s+")
#: A clause that means "yes" and adds nothing.
ECHO = re.compile(
    r"(?:i|we) (?:think|believe|guess|assume|can|do|see)(?: (?:so|it|1|them|that))?(?: yes)?"
    r"|(?:it|they|he|she|there|this|1)(?:'s| is| are| does| do| has| have)(?: (?:so|likely))?"
    r"|(?:it |they |he |she )?(?:looks?|appears?|seems?|sounds?) (?:like (?:it|that)|so|to be|to)"
    r"|so yes|most likely|very(?: much)?|pretty much|quite|really|a little(?: bit)?|partially|barely"
    r"|from what i can tell|(?:quite|very|pretty|really) nice"
)
#: A clause that is not sure of anything.
VAGUE = re.compile(
    r"\b(?:can'?t|cannot|can not|couldn'?t|hard to|unable|unsure|unclear|impossible|unknown|depends)\b"
    r"|\b(?:maybe|perhaps|possibly|probably|(?:could|might|may) be|don'?t know|who knows|to (?:tell|say|see))\b"
    r"|^(?:sorry|my (?:mistake|bad)|i (?:was|am) (?:wrong|mistaken))$"
    r"|^(?:kind of|sort of|a bit|somewhat|partially|i assume|lol|n/?a|it is (?:fine|ok|okay|nice))$"
)
#: A clause that says what is not there.
NEGATIVE = re.compile(
    r"\b(?:no|not|none|nothing|nobody|never|neither|nor|without|nope|zero|\w+n't|(?:do|is|are|does|did)nt)\b"
    r"|^0\b|^(?:just )?that'?s (?:it|all)$"
)
#: What a clause may begin with that adds nothing.
LEAD = re.compile(
    r"(?:(?:well|just|only|mostly|basically|actually|also|but|and|yes)\b|(?:about|around)(?= \d)"
    r"|i (?:think|believe|guess|would say|can see|see|only see)\b|(?:it|he|she|there|they)(?:'s|'re| is| are)\b|its\b"
    r"|(?:it |they |he |she )?(?:looks?|appears?|seems?)(?: like| to be| to)?\b"
    r"|the (?:answer|colou?r)s? (?:is|are)\b|see\b)[\s,]*"
)
#: Spellings made alike before anything else: (pattern, replacement).
ALIKE = _table(
    (r"^(what|where|who|how)'s\b", r"\1 is"),
    (r"\b(?:answer|question) ?:", " "),
    (r"\b(\w+)(?: \1\b)+", r"\1"),
)
#: A question that doubts what was said: its answer takes the place of the earlier one.
DOUBT = re.compile(r"(?:are you (?:really )?(?:sure|certain)(?: about)?|is that really)\b[\s,]*")
#: What a doubt may be about as a whole -> the questions that it calls back.
TOPICS = _table(
    (
        r"(?:the )?(?:weather|sky|light|lighting|time of day)",
        r"what (?:is|was) the (?:weather|light|lighting)\b.*|how (?:does|is|did|was) the (?:sky|weather|light)\b.*"
        r"|what time of (?:the )?day\b.*",
    ),
    (
        r"(?:the )?(?:place|location|setting|background)",
        r"where (?:is (?:this|it)|was (?:this|it))\b.*|what (?:is|was) (?:in )?the (?:place|location|setting)\b.*"
        r"|what (?:is|was) (?:in )?the background\b.*",
    ),
)
QUESTION_LEAD = re.compile(r"^(?:(?:and|so|ok|okay|then|also|well|oh|cool|nice|great|but)\b[\s,]+)+")
IN_THE_PICTURE = re.compile(
    r"(?:,? (?:in|of) (?:the|this) (?:photo|picture|image|pic|scene)|,? if any| visible| at all)+$"
)
SUBJECT_ENDS = re.compile(rf"^(?:{DET}|all|both) | shape$| (?:he|she|they)(?: is| are|'s)? \w+(?:ing)?$")
WHOLE_PICTURE = re.compile(r"it|this|that|these|those|he|she|they|there|photo|picture|image|pic|scene|place")
WEATHER = re.compile(r"weather|setting|background|time|sky|light|lighting")
PREPOSITION = re.compile(
    r"(?:in|on|at|by|under|over|near|behind|beside|beneath|below|above|among|between|next|inside|outside|with|to|from|"
    r"along|around|across|against|downtown|indoors|outdoors|underwater|off|through|towards?|of|made|up|down)\b|\w+ing\b"
)
OWN_PHRASE = re.compile(r"(?:an?|the|some|several|many|lots|\d+|one|two|three|four|five|his|her|their)\b")
COUNT = re.compile(
    r"(?:at least |over |more than )?"
    r"(?P<n>\d+|one|two|three|four|five|six|seven|eight|nine|ten|a few|a couple|several|many|some)(?: at least| or so)?"
)
#: Values that tell their kind themselves, so that "no, blue" corrects "red" however each was asked for.
COLOUR = "red|orange|yellow|green|blue|purple|pink|white|black|brown|gr[ea]y|tan|beige|silver|gold|blonde?"
SIZE = "small|little|tiny|large|big|huge"
PATTERN = "striped|stripy|dotted|spotted|checkered|plaid|plain|solid"
KIND_OF_VALUE = _table(
    (rf"(?:(?:light|dark|bright|{COLOUR})(?: and |, | )?)*(?:{COLOUR})", "colour"),
    (rf"(?:very |quite |pretty )?(?:{SIZE})", "size"),
    (PATTERN, "pattern"),
)
#: A yes/no question that a value may answer in place of a yes: what it is about, and the kind that it must be of.
PROPERTY = _table(
    (rf"{BE} {SUBJECT} [\w-]+", "property"),
    (rf"{BE} (?:it|this|that) an? [\w-]+ (?P<s>[\w-]+(?: shape)?)", "value"),
    (rf"{BE} (?P<s>the [\w' -]+?) (?:in|on|at|up|down) .+", "place"),
)
COLOUR_WORDS = re.compile(r"^an? | (?:in )?colou?r(?:ed)?$")
ADJECTIVE_ORDER = ("size", "age", "colour", "pattern")
#: Two words for one thing: what is said of either is said of the other.
SAME_THING = {
    "airplane": "plane",
    "bicycle": "bike",
    "cottage": "house",
    "couch": "sofa",
    "parasol": "umbrella",
    "television": "tv",
}
MAX_CLAUSE_WORDS = 14
MAX_CHARACTERS = 500  # of a question or an answer: more is no fact, and patterns take quadratic time
