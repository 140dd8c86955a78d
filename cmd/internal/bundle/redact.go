package bundle

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// hidden stands for what was taken out.
const hidden = "***"

// leastSecret is the length of a secret, in bytes, that is looked for by itself: a shorter one
// is in every text.
const leastSecret = 4

// Redactor takes out of texts what nobody else is to read. It hides too much rather than too
// little.
type Redactor struct{ secrets *strings.Replacer }

// NewRedactor returns one that knows these secrets, beside what it knows by its look.
func NewRedactor(secrets ...string) *Redactor {
	var spellings []string
	for _, s := range secrets {
		if s = strings.TrimSpace(s); len(s) < leastSecret {
			continue
		}
		quoted, _ := json.Marshal(s) // of a string
		spellings = append(spellings, s, url.QueryEscape(s), url.PathEscape(s), url.UserPassword("", s).String()[1:], strings.Trim(string(quoted), `"`))
	}
	slices.Sort(spellings)
	var pairs []string
	for _, s := range slices.Backward(slices.Compact(spellings)) { // longer ones first
		pairs = append(pairs, s, hidden)
	}
	return &Redactor{strings.NewReplacer(pairs...)}
}

// secretName is the name of something that is secret.
const secretName = `[\w.-]*(?:pass(?:word|wd|phrase)?|secret|token|credentials?|auth(?:orization)?|api[_ -]?key|(?:private|access)[_ -]?key|[_-]key|psk)[\w.-]*`

var (
	pem    = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`)
	links  = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]+`)
	scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	// A whole line "name = value", in which the value may have blanks.
	assigned = regexp.MustCompile(`(?im)^([#; \t]*(?:export[ \t]+)?)(` + secretName + `)([ \t]*[:=][ \t]*)([^\r\n"',{\[][^\r\n]*)$`)
	// The same within a line, as JSON, as a flag, and as JSON in a quoted text.
	named = regexp.MustCompile(`(?i)(` + secretName + `)(\\?["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|\\"(?:[^"\\]|\\[^"])*\\"|'[^']*'|[^\s"'\[{]\S*)`)
	flags = regexp.MustCompile(`(?i)(--?` + secretName + `)([ \t]+)("[^"]*"|'[^']*'|[^\s"'-]\S*)`)
	// An argument that is the name of a flag.
	secretFlag = regexp.MustCompile(`(?i)^--?` + secretName + `$`)
	heads      = regexp.MustCompile(`(?i)\b(basic|bearer|digest|negotiate)\s+[A-Za-z0-9._~+/=-]*[0-9=._~+/][A-Za-z0-9._~+/=-]*`)
	// What systemctl says of a unit.
	unitEnv = regexp.MustCompile(`(?m)^(\s*Environment=)(.*)$`)
	envName = regexp.MustCompile(`([A-Za-z_]\w*)=`)
)

// Text returns the text without secrets. What is hidden stays hidden if it is called again.
func (r *Redactor) Text(s string) string {
	s = r.secrets.Replace(s)
	s = pem.ReplaceAllString(s, hidden)
	s = links.ReplaceAllStringFunc(s, withoutUser)
	s = unitEnv.ReplaceAllStringFunc(s, onlyNames)
	s = heads.ReplaceAllString(s, "$1 "+hidden)
	for _, p := range []*regexp.Regexp{assigned, flags, named} {
		s = p.ReplaceAllStringFunc(s, func(match string) string {
			m := p.FindStringSubmatch(match)
			name := m[len(m)-3]
			if harmless(name) {
				return match
			}
			value := hidden
			if quote := m[len(m)-1][0]; quote == '"' || quote == '\'' {
				value = string(quote) + hidden + string(quote)
			} else if quote == '\\' {
				value = `\"` + hidden + `\"`
			}
			return strings.Join(m[1:len(m)-1], "") + value
		})
	}
	return s
}

// harmless reports whether what looks like the name of a secret says where one is.
func harmless(name string) bool {
	name = strings.ToLower(strings.TrimLeft(name, "-"))
	for _, end := range []string{"file", "path", "dir"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return name == "flannel_etcd_key" // etcd's prefix, as some distributions call it
}

// withoutUser hides who uses URLs, of which several may be separated by commas. A password
// may have any character in it but blanks.
func withoutUser(urls string) string {
	var all []string
	for part := range strings.SplitSeq(urls, ",") {
		if n := len(all); n > 0 && !scheme.MatchString(part) {
			all[n-1] += "," + part
		} else {
			all = append(all, part)
		}
	}
	for i, u := range all {
		if at := strings.LastIndexByte(u, '@'); at >= 0 {
			all[i] = scheme.FindString(u) + hidden + u[at:]
		}
	}
	return strings.Join(all, ",")
}

// onlyNames hides the values of variables.
func onlyNames(line string) string {
	before, rest, _ := strings.Cut(line, "=")
	var names []string
	for _, m := range envName.FindAllStringSubmatch(rest, -1) {
		names = append(names, m[1]+"="+hidden)
	}
	return before + "=" + strings.Join(names, " ")
}

// Arguments returns a program's arguments, a line each. A secret is known by the flag before
// it, whatever it looks like and wherever a line ends.
func (r *Redactor) Arguments(args []string) string {
	var b strings.Builder
	for i, arg := range args {
		name, _, joined := strings.Cut(arg, "=")
		switch {
		case i > 0 && secretFlag.MatchString(args[i-1]) && !harmless(args[i-1]):
			arg = hidden
		case joined && secretFlag.MatchString(name) && !harmless(name):
			arg = name + "=" + hidden
		}
		b.WriteString(r.Text(arg) + "\n")
	}
	return b.String()
}

// Environ returns the variables, a line each: the values of those alone that are the
// daemon's.
func (r *Redactor) Environ(environ []string) string {
	var b strings.Builder
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "FLANNEL") && name != "DAEMON_ARGS" && name != "STATE_DIRECTORY" {
			value = hidden
		}
		b.WriteString(r.Text(name+"="+value) + "\n")
	}
	return b.String()
}
