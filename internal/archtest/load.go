package archtest

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Load reads all packages of the module in folder root.
//
// It parses the files itself instead of asking go list: so it sees the files of
// every platform and build tag, and the test cache, which watches the files
// that a test opens, notices when one is added or changed.
func Load(root string) ([]Package, error) {
	module, err := moduleName(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	var packages []Package
	err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if at != root && skipped(at, d.Name()) {
			return filepath.SkipDir
		}
		files, err := loadFolder(at, module)
		if err != nil || len(files) == 0 {
			return err
		}
		dir, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		packages = append(packages, Package{Dir: filepath.ToSlash(dir), Files: files})
		return nil
	})
	return packages, err
}

// skipped tells the folders that hold no packages of the module: what the go
// command passes over, what npm fills, and modules of their own.
func skipped(at, name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	if slices.Contains([]string{"testdata", "vendor", "node_modules"}, name) {
		return true
	}
	_, err := os.Stat(filepath.Join(at, "go.mod"))
	return err == nil
}

func moduleName(gomod string) (string, error) {
	raw, err := os.ReadFile(gomod)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", errors.New(gomod + " names no module")
}

func loadFolder(folder, module string) ([]File, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, e := range entries {
		if e.IsDir() || path.Ext(e.Name()) != ".go" || strings.HasPrefix(e.Name(), ".") || strings.HasPrefix(e.Name(), "_") {
			continue
		}
		f, err := loadFile(filepath.Join(folder, e.Name()), module)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func loadFile(name, module string) (File, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return File{}, err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, raw, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return File{}, err
	}
	f := File{
		Name:      filepath.Base(name),
		Test:      strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(tree),
		Commented: tree.Doc.Text() != "",
		Lines:     bytes.Count(raw, []byte("\n")),
	}
	clock := ""
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return File{}, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		if dir, ok := strings.CutPrefix(imported, module+"/"); ok {
			f.Ours = append(f.Ours, dir)
			continue
		}
		f.Foreign = append(f.Foreign, imported)
		if imported == "time" {
			clock = "time"
			if spec.Name != nil {
				clock = spec.Name.Name
			}
		}
	}
	f.Clock = clockUses(set, tree, clock)
	return f, nil
}

// clockUses finds what reads or waits for the clock in a file that imports
// package time by the given name.
func clockUses(set *token.FileSet, tree *ast.File, name string) []string {
	if name == "" {
		return nil
	}
	reads := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
	var uses []string
	ast.Inspect(tree, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && slices.Contains(reads, sel.Sel.Name) {
			uses = append(uses, fmt.Sprintf("time.%s in line %d", sel.Sel.Name, set.Position(sel.Pos()).Line))
		}
		return true
	})
	return uses
}
