// Formats of strings. What is allowed is what every checker takes: where they differ, or where a
// rule counts beyond what is useful, it is less than the standard has.
#include "grammar/format.h"

#include <string.h>

// A date's months by their days; the year 0000 is none for Python.
#define DAYS_28 "(?:0[1-9]|1[0-9]|2[0-8])"
#define DAYS_30 "(?:0[1-9]|[12][0-9]|30)"
#define DAYS_31 "(?:0[1-9]|[12][0-9]|3[01])"
#define YEAR "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
#define BY_4 "(?:0[48]|[2468][048]|[13579][26])" // from 04 to 96
#define LEAP_YEAR "(?:[0-9]{2}" BY_4 "|" BY_4 "00)"
#define DATE                                                                                       \
    "(?:" YEAR "-(?:(?:0[13578]|1[02])-" DAYS_31 "|(?:0[469]|11)-" DAYS_30 "|02-" DAYS_28          \
    ")|" LEAP_YEAR "-02-29)"
// No leap seconds: whether there was one a calendar would have to say.
#define CLOCK "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?"
#define TIME CLOCK "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"

#define N "[0-9]{1,6}"
#define HOURS "(?:" N "H(?:" N "M(?:" N "S)?)?|" N "M(?:" N "S)?|" N "S)"
#define DAYS "(?:" N "Y(?:" N "M(?:" N "D)?)?|" N "M(?:" N "D)?|" N "D)"
#define DURATION "P(?:" DAYS "(?:T" HOURS ")?|T" HOURS "|" N "W)"

#define HEX "[0-9A-Fa-f]"
#define UUID HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}"

#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 OCTET "(?:\\." OCTET "){3}"
#define H16 HEX "{1,4}"
#define LS32 "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                       \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32      \
    "|(?:(?:" H16 ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16             \
    ")?::(?:" H16 ":){2}" LS32 "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16       \
    ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16 "|(?:(?:" H16 ":){0,6}" H16   \
    ")?::)"

// RFC 3986, with registered names and IPv4 as hosts.
#define PERCENT "%" HEX "{2}"
#define REG "[A-Za-z0-9._~!$&'()*+,;=-]"
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|" PERCENT ")"
#define AUTHORITY                                                                                  \
    "//(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|" PERCENT ")*@)?(?:" REG "|" PERCENT ")*(?::[0-9]{0,5})?"
#define SEGMENTS "(?:/" PCHAR "*)*"
#define QUERY "(?:\\?(?:" PCHAR "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"
#define URI                                                                                        \
    "[A-Za-z][A-Za-z0-9+.-]*:(?:" AUTHORITY SEGMENTS "|/(?:" PCHAR "+" SEGMENTS ")?|" PCHAR        \
    "+" SEGMENTS ")?" QUERY
#define RELATIVE                                                                                   \
    "(?:" AUTHORITY SEGMENTS "|/(?:" PCHAR "+" SEGMENTS                                            \
    ")?|(?:[A-Za-z0-9._~!$&'()*+,;=@-]|" PERCENT ")+" SEGMENTS ")?" QUERY

#define POINTER "(?:/(?:[^/~]|~[01])*)*"
// Names without percent signs, prefixes of at most three digits, and below no zero inside a number:
// there are checkers that do not take them.
#define VARIABLE "[A-Za-z0-9_]+(?:\\.[A-Za-z0-9_]+)*(?::[1-9][0-9]{0,2}|\\*)?"
#define TEMPLATE                                                                                   \
    "(?:[A-Za-z0-9._~:/?#@!$&()*+,;=\\[\\]-]|" PERCENT "|\\{[+#./;?&]?" VARIABLE "(?:," VARIABLE   \
    ")*\\})*"

// A URI is an IRI, and a name in ASCII is an international one.
static const struct {
    const char *name, *pattern; // NULL: a host name
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "T" TIME},
    {"duration", DURATION},
    {"uuid", UUID},
    {"ipv4", IPV4},
    {"ipv6", IPV6},
    {"hostname", NULL},
    {"idn-hostname", NULL},
    {"email", NULL},
    {"idn-email", NULL},
    {"uri", URI},
    {"iri", URI},
    {"uri-reference", "(?:" URI "|" RELATIVE ")"},
    {"iri-reference", "(?:" URI "|" RELATIVE ")"},
    {"uri-template", TEMPLATE},
    {"json-pointer", POINTER},
    {"relative-json-pointer", "(?:0|[1-9]{1,9})(?:#|" POINTER ")"},
};

int grammar_dfa_format(grammar_dfa **out, const char *format, base_err *err) {
    *out = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, format) != 0)
            continue;
        if (formats[i].pattern == NULL)
            return format_host(out, strstr(format, "email") != NULL, err);
        return grammar_dfa_regex(out, formats[i].pattern, strlen(formats[i].pattern), 0, err);
    }
    return 0;
}
