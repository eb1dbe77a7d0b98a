package masking

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every cause and every reason is explained where an operator looks for it, and
// nothing is explained that does not exist.
func TestEveryCauseAndReasonIsExplained(t *testing.T) {
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(text), "## Causes")
	explained := map[string]bool{}
	for line := range strings.Lines(tables) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			word, _, _ := strings.Cut(rest, "`")
			explained[word] = true
		}
	}
	known := slices.Concat(constants(t, "call.go", "Cause"), constants(t, "admit.go", "Refusal"), constants(t, "health.go", "Blame"))
	for _, word := range known {
		if !explained[word] {
			t.Errorf("docs/troubleshooting.md does not explain %s", word)
		}
	}
	for word := range explained {
		if !slices.Contains(known, word) {
			t.Errorf("docs/troubleshooting.md explains %s, which does not exist", word)
		}
	}
}

// constants are the values of a file's constants of a string type.
func constants(t *testing.T, file, typ string) (values []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != typ {
			return true
		}
		for _, v := range spec.Values {
			if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				word, _ := strconv.Unquote(lit.Value)
				values = append(values, word)
			}
		}
		return true
	})
	if len(values) < 3 {
		t.Fatalf("%d constants of %s in %s", len(values), typ, file)
	}
	return values
}
