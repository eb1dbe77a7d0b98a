package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	envPrefix     = "TANDEM_"
	originDefault = "default"

	maxFileBytes   = 1 << 20 // a settings file is a page or two; more is the wrong file
	maxSecretBytes = 4 << 10
)

// A Fault is one thing wrong in one source.
type Fault struct {
	Where   string // "tandem.yaml:3: media_ports", "TANDEM_MEDIA_PORTS", "--media-ports"
	Problem string // what is wrong and what would be right; never a secret
}

// String gives the fault as one line.
func (f Fault) String() string { return f.Where + ": " + f.Problem }

// Faults is the error of Load: everything that is wrong, in the order of the
// sources.
type Faults []Fault

// Error gives one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// loader gathers values and faults from one source after the other.
type loader struct {
	table   []setting
	config  Config
	origins map[string]string
	bad     map[string]bool // settings that some source gives a faulty value
	faults  Faults
}

func newLoader(table []setting) *loader {
	return &loader{table: table, origins: map[string]string{}, bad: map[string]bool{}}
}

func (l *loader) fault(where, problem string) {
	l.faults = append(l.faults, Fault{Where: where, Problem: problem})
}

// a given is one value as a source gives it.
type given struct {
	field  setting
	value  string
	where  string // heads a fault
	origin string // is shown by Print
}

// take sets the values of one source. A secret may come from this source
// either as itself or by file, not both: which one was meant is not ours to guess.
func (l *loader) take(values []given) {
	from := map[string]string{}
	for _, v := range values {
		if v.value == "" {
			continue
		}
		target := v.field.target()
		if other, twice := from[target]; twice {
			l.fault(v.where, "is set together with "+other+"; only one of them may be")
			continue
		}
		from[target] = v.where
		if err := v.field.set(&l.config, v.value); err != nil {
			l.fault(v.where, err.Error())
			l.bad[target] = true
			continue
		}
		l.origins[target] = v.origin
	}
}

func (l *loader) defaults() {
	for _, s := range l.table {
		l.origins[s.target()] = originDefault
		if s.Default == "" {
			continue
		}
		if err := s.set(&l.config, s.Default); err != nil {
			l.fault(s.Key, "default: "+err.Error())
		}
	}
}

// file reads a YAML mapping of setting to scalar, or to a list of scalars
// where the setting is a list. It works on the node tree, since only there
// each key still has its line.
func (l *loader) file(name string, raw []byte) {
	dec := yaml.NewDecoder(strings.NewReader(string(raw)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // io.EOF: nothing but comments
			l.fault(name, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		return
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		l.fault(name, "holds more than one YAML document")
		return
	}
	if len(doc.Content) == 0 {
		return
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return
	}
	if root.Kind != yaml.MappingNode {
		l.fault(at(name, root), "is not a list of \"setting: value\" lines")
		return
	}
	l.take(l.mapping(name, root))
}

func (l *loader) mapping(name string, root *yaml.Node) []given {
	var values []given
	line := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		where := at(name, key) + ": " + printable(key.Value)
		s, known := l.find(func(s setting) bool { return s.Key == key.Value })
		if !known {
			l.unknown(where, key.Value, func(s setting) string { return s.Key })
			continue
		}
		if first, twice := line[s.Key]; twice {
			l.fault(where, fmt.Sprintf("is already set in line %d", first))
			continue
		}
		line[s.Key] = key.Line
		text, err := scalar(s, value)
		if err != nil {
			l.fault(where, err.Error())
			l.bad[s.target()] = true
			continue
		}
		values = append(values, given{field: s, value: text, where: where, origin: at(name, key)})
	}
	return values
}

// scalar gives the text of a value node. A list becomes the comma-separated
// form that the environment and the flags use.
func scalar(s setting, n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "", nil
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode && s.List:
		parts := make([]string, len(n.Content))
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("the list may hold single values only")
			}
			parts[i] = item.Value
		}
		return strings.Join(parts, ","), nil
	case s.List:
		return "", errors.New("wants one value or a list of values")
	default:
		return "", errors.New("wants one value")
	}
}

// environ reads TANDEM_… variables. An unknown one is refused, since a
// misspelt setting that is silently ignored is found out at night; those that
// Kubernetes injects for a service called tandem are left alone.
func (l *loader) environ(vars, others []string) {
	var values []given
	seen := map[string]string{}
	for _, v := range vars {
		name, value, ok := strings.Cut(v, "=")
		if ok && strings.HasPrefix(name, envPrefix) {
			seen[name] = value // of two the last holds, as for a child process
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		s, known := l.find(func(s setting) bool { return s.Env == name })
		switch {
		case known:
			values = append(values, given{field: s, value: seen[name], where: name, origin: "environment " + name})
		case slices.Contains(others, name), serviceLink(name):
		default:
			l.unknown(printable(name), name, func(s setting) string { return s.Env })
		}
	}
	l.take(values)
}

// serviceLink reports whether Kubernetes makes a variable of this name for a
// service called "tandem" (TANDEM_SERVICE_HOST, TANDEM_PORT_8080_TCP_ADDR, …).
func serviceLink(name string) bool {
	return name == "TANDEM_PORT" || strings.HasPrefix(name, "TANDEM_PORT_") ||
		strings.HasPrefix(name, "TANDEM_SERVICE_")
}

func (l *loader) flags(flags map[string]string) {
	var values []given
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		where := "--" + printable(name)
		s, known := l.find(func(s setting) bool { return s.Flag == name })
		if !known {
			l.unknown(where, name, func(s setting) string { return s.Flag })
			continue
		}
		values = append(values, given{field: s, value: flags[name], where: where, origin: "flag " + where})
	}
	l.take(values)
}

func (l *loader) find(is func(setting) bool) (setting, bool) {
	i := slices.IndexFunc(l.table, is)
	if i < 0 {
		return setting{}, false
	}
	return l.table[i], true
}

// unknown reports a name that no setting has, with the nearest one that exists.
func (l *loader) unknown(where, name string, of func(setting) string) {
	best, least := "", -1
	for _, s := range l.table {
		if d := distance(name, of(s)); least < 0 || d < least {
			best, least = of(s), d
		}
	}
	l.fault(where, "no such setting; the nearest is "+best)
}

// at gives "file:line" of a node.
func at(name string, n *yaml.Node) string { return fmt.Sprintf("%s:%d", name, n.Line) }

// printable keeps a foreign name on one line and short.
func printable(name string) string {
	const most = 60
	quoted := fmt.Sprintf("%q", name)
	if quoted == `"`+name+`"` && name != "" && len(name) <= most {
		return name
	}
	if len(name) > most {
		return fmt.Sprintf("%q…", name[:most])
	}
	return quoted
}

// distance is the Levenshtein distance of two names: how many letters must be
// put in, taken out or changed. Names are cut at 64 bytes, longer ones are
// nobody's typing mistake.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, reason(err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("is longer than %d bytes", limit)
	}
	return raw, nil
}

// reason takes the operation and the path off a file error; the fault names
// the place already.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
