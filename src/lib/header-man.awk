# SPDX-License-Identifier: BSD-3-Clause
# librdbeam(3) out of the public headers: awk -v version=V -f header-man.awk error.h rdbeam.h
# The comment that heads rdbeam.h is the description; each comment that stands right above a
# declaration is its text. Order and wording are the headers': there is nothing else to keep right.

# Text as roff wants it.
function roff(text) {
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	if (text ~ /^[.']/)
		text = "\\&" text
	return text
}

# A comment's lines without its marks; an empty one begins a paragraph.
function clean(line) {
	sub(/^[ \t]*\/\*[ \t]?/, "", line)
	sub(/[ \t]*\*\/[ \t]*$/, "", line)
	sub(/^[ \t]*\*[ \t]?/, "", line)
	return line
}

function print_text(text, n, lines, i) {
	n = split(text, lines, "\n")
	for (i = 1; i <= n; i++) {
		if (lines[i] ~ /^[ \t]*$/) {
			if (i > 1 && i < n)
				print ".PP"
		} else {
			sub(/^[ \t]+/, "", lines[i])
			print roff(lines[i])
		}
	}
}

function begin_page() {
	printf ".TH LIBRDBEAM 3 \"\" \"rdbeam %s\" \"rdbeam manual\"\n", version
	print ".SH NAME\nlibrdbeam \\- read and pull snapshots of Redis and Valkey"
	print ".SH SYNOPSIS\n.nf\n.B #include <rdbeam/rdbeam.h>\n.fi"
	print ".PP\n.B cc prog.c $(pkg\\-config \\-\\-cflags \\-\\-libs librdbeam)\n.SH DESCRIPTION"
}

function print_declaration() {
	sub(/^RDBEAM_API /, "", declaration)
	print ".SS " name "\n.nf"
	n = split(declaration, lines, "\n")
	for (i = 1; i <= n; i++)
		print "\\fB" roff(lines[i]) "\\fR"
	print ".fi\n.PP"
	print_text(comment)
}

# One row of the error list: X(NAME, -5001, SCOPE, "text")
/^\tX\(/ {
	split($0, parts, /[(,]/)
	split($0, quoted, "\"")
	errors = errors ".TP\n.B BEAM_E_" parts[2] "\n" roff(quoted[2]) "\n"
	next
}

FNR == 1 { comment = ""; inside = declaring = 0; first = 1 }

inside {
	comment = comment "\n" clean($0)
	if (/\*\//)
		inside = 0
	next
}

!declaring && /^\/\*/ {
	comment = clean($0)
	inside = $0 !~ /\*\//
	next
}

# The head of rdbeam.h, which names the SPDX line first.
first && /^#ifndef RDBEAM_RDBEAM_H/ {
	sub(/^SPDX[^\n]*\n/, "", comment)
	head = comment
	first = 0
}

/^#/ || /^$/ { if (!declaring) { comment = ""; next } }

comment != "" && !declaring && /^(RDBEAM_API|struct|enum) / {
	declaring = 1
	declaration = ""
	name = $0
	if (/^RDBEAM_API/) {
		sub(/\(.*/, "", name)
		sub(/.*[ *]/, "", name)
	} else {
		sub(/[ ;]*[{;].*/, "", name)
	}
	ends = /^RDBEAM_API/ ? ");$" : "^}?.*;$"
	if (/^(struct|enum).*\{$/)
		ends = "^};$"
}

declaring {
	declaration = declaration (declaration == "" ? "" : "\n") $0
	if ($0 ~ ends) {
		declaring = 0
		pages[++npages] = name
		texts[npages] = comment
		declarations[npages] = declaration
		comment = ""
	}
}

END {
	begin_page()
	print_text(head)
	print ".SH INTERFACE"
	for (p = 1; p <= npages; p++) {
		name = pages[p]; comment = texts[p]; declaration = declarations[p]
		gsub(/\t/, "    ", declaration)
		print_declaration()
	}
	printf ".SH ERRORS\n%s", errors
	print ".SH EXAMPLES\nPrograms with a Makefile are installed in the examples directory of the"
	print "development package's documentation: list\\-keys, type\\-counts and pull\\-image."
	print ".SH SEE ALSO\n.BR rdbeam (1),\n.BR rdbeam\\-verify (1),\n.BR rdbeam.so (7)"
}
