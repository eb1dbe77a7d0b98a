package archtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheModuleKeepsTheImportTableAndTheHouseRules(t *testing.T) {
	packages, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(packages, func(p Package) bool { return p.Dir == "internal/archtest" }) {
		t.Fatalf("found %d packages and not even this one", len(packages))
	}
	for _, violation := range Check(House(), packages) {
		t.Error(violation)
	}
}

func TestTheTableNamesOnlyPackagesThatHaveARow(t *testing.T) {
	rules := House()
	named := slices.Concat(rules.TestImports, rules.TestOnly, rules.NoClock)
	for _, may := range rules.Imports {
		named = append(named, may...)
	}
	for _, l := range rules.Foreign {
		named = append(named, l.Never...)
		named = append(named, l.Only...)
	}
	for _, name := range named {
		if _, ok := rules.Imports[name]; !ok && name != "*" && name != "store/*" {
			t.Errorf("%s is named and has no row", name)
		}
	}
}

// code is a package with one file, commented, that imports packages of ours.
func code(dir string, ours ...string) Package {
	return Package{Dir: dir, Files: []File{{Name: "a.go", Commented: true, Ours: ours}}}
}

// tests is a package with a clean file and a test file that imports.
func tests(dir string, ours ...string) Package {
	p := code(dir)
	p.Files = append(p.Files, File{Name: "a_test.go", Test: true, Ours: ours})
	return p
}

// foreign is a package whose one file imports what is not ours.
func foreign(dir string, imports ...string) Package {
	return Package{Dir: dir, Files: []File{{Name: "a.go", Commented: true, Foreign: imports}}}
}

func TestViolationsAreReportedInAClearSentence(t *testing.T) {
	for name, c := range map[string]struct {
		pkg  Package
		want string
	}{
		"plane to plane": {code("internal/web/api", "internal/voice/sdp"),
			"internal/web/api/a.go imports internal/voice/sdp: web/api may import e164, masking, control, web/auth, web/ratelimit, blob, ladder"},
		"engine to engine": {code("internal/store/sqlite", "internal/store/postgres"),
			"internal/store/sqlite/a.go imports internal/store/postgres: store/sqlite may import e164, masking, store, store/sqlstore"},
		"a package that must stand alone": {code("internal/voice/siptx", "internal/e164"),
			"internal/voice/siptx/a.go imports internal/e164: voice/siptx may import nothing of ours"},
		"a tool for tests in the product": {code("internal/app", "internal/testkit"),
			"internal/app/a.go imports internal/testkit: app may import everything but what is made for tests"},
		"a test across the planes": {tests("internal/web/api", "internal/voice/relay"),
			"internal/web/api/a_test.go imports internal/voice/relay: the tests of web/api may import e164, masking, control, web/auth, web/ratelimit, blob, ladder, and of the test tools e164, masking, testkit, testkit/ca, testkit/contract, testkit/database, testkit/names, testkit/postgres, voice/phone, store, store/storetest, store/sqlite"},
		"a package without a row": {code("internal/util", "internal/store"),
			"internal/util has no row in the import table: add one to internal/archtest/table.go and to ARCHITECTURE.md"},
		"a rule with a context": {foreign("internal/masking", "context"),
			"internal/masking/a.go imports context: a rule is values in, values out"},
		"a rule with the network": {foreign("internal/masking", "net/http"),
			"internal/masking/a.go imports net/http: a rule does no I/O"},
		"a use case with HTTP": {foreign("internal/control", "net/http"),
			"internal/control/a.go imports net/http: a use case does not know who calls it"},
		"SIP beyond its adapter": {foreign("internal/voice/b2bua", "github.com/emiago/sipgo/sip"),
			"internal/voice/b2bua/a.go imports github.com/emiago/sipgo/sip: SIP messages stop at the SIP adapter"},
		"huma beyond the API": {foreign("internal/web/auth", "github.com/danielgtaylor/huma/v2"),
			"internal/web/auth/a.go imports github.com/danielgtaylor/huma/v2: its NewError is one for the process, so one package touches it"},
		"SQL beyond the store": {foreign("internal/app", "database/sql"),
			"internal/app/a.go imports database/sql: only an engine of the store speaks SQL"},
		"a rule that looks at the clock": {Package{Dir: "internal/masking", Files: []File{{Name: "a.go", Commented: true, Clock: []string{"time.Now in line 7"}}}},
			"internal/masking/a.go calls time.Now in line 7: masking is given the time"},
		"no package comment": {Package{Dir: "internal/e164", Files: []File{{Name: "a.go"}, {Name: "a_test.go", Test: true, Commented: true}}},
			"internal/e164 has 0 package comments, want one"},
		"two package comments": {Package{Dir: "internal/e164", Files: []File{{Name: "a.go", Commented: true}, {Name: "b.go", Commented: true}}},
			"internal/e164 has 2 package comments, want one"},
		"tests alone without a comment": {Package{Dir: "test/e2e", Files: []File{{Name: "a_test.go", Test: true}}},
			"test/e2e has 0 package comments, want one"},
		"a long file": {Package{Dir: "internal/e164", Files: []File{{Name: "a.go", Commented: true, Lines: 701}}},
			"internal/e164/a.go has 701 lines, 700 are the most"},
	} {
		if got := Check(House(), []Package{c.pkg}); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatTheTableAllowsIsNotReported(t *testing.T) {
	for name, p := range map[string]Package{
		"the root of composition":         code("internal/app", "internal/web/api", "internal/voice/sipua", "internal/store/sqlite"),
		"the domain":                      code("internal/control", "internal/e164", "internal/masking", "internal/store"),
		"a test beside its package":       tests("internal/e164", "internal/e164"),
		"a test with test tools":          tests("internal/control", "internal/store/sqlite", "internal/testkit"),
		"a test in its own plane":         tests("internal/voice/sipua", "internal/voice/relay"),
		"tests of the whole":              code("test/e2e", "internal/testkit", "internal/app", "internal/web/api"),
		"SIP where it belongs":            foreign("internal/voice/sipua", "github.com/emiago/sipgo/sip"),
		"a name that only begins alike":   foreign("internal/masking", "network.example/x", "net2"),
		"addresses as values":             foreign("internal/masking", "net/netip"),
		"a context in a test of the rule": {Dir: "internal/masking", Files: []File{{Name: "a.go", Commented: true}, {Name: "a_test.go", Test: true, Foreign: []string{"context"}, Clock: []string{"time.Now in line 1"}}}},
		"a long file that is generated":   {Dir: "internal/e164", Files: []File{{Name: "a.go", Commented: true, Lines: 9000, Generated: true}}},
		"tests alone with a comment":      {Dir: "test/e2e", Files: []File{{Name: "a_test.go", Test: true, Commented: true}}},
	} {
		if got := Check(House(), []Package{p}); len(got) != 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestLoadSeesEveryFileOfEveryPlatformAndNothingElse(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                         "// a comment\nmodule example.org/m\n\ngo 1.26\n",
		"internal/masking/rule.go":       "// Package masking is one.\npackage masking\n\nimport (\n\tclock \"time\"\n\n\t\"example.org/m/internal/e164\"\n)\n\nvar now = clock.Now\n\nfunc f(t e164.T) { clock.Sleep(clock.Second) }\n",
		"internal/masking/x_plan9.go":    "// Code generated by hand. DO NOT EDIT.\n\npackage masking\n\nimport _ \"net\"\n",
		"internal/masking/x_test.go":     "package masking_test\n\nimport _ \"testing\"\n",
		"internal/masking/_off.go":       "broken",
		"internal/masking/testdata/a.go": "broken",
		"console/node_modules/a/a.go":    "broken",
		".hidden/a.go":                   "broken",
		"other/go.mod":                   "module other\n",
		"other/a.go":                     "package other\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	packages, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) != 1 || packages[0].Dir != "internal/masking" || len(packages[0].Files) != 3 {
		t.Fatalf("got %+v", packages)
	}
	rule, plan9, test := packages[0].Files[0], packages[0].Files[1], packages[0].Files[2]
	if !rule.Commented || rule.Test || rule.Generated || rule.Lines != 12 ||
		!slices.Equal(rule.Ours, []string{"internal/e164"}) || !slices.Equal(rule.Foreign, []string{"time"}) {
		t.Errorf("rule.go: %+v", rule)
	}
	if want := []string{"time.Now in line 10", "time.Sleep in line 12"}; !slices.Equal(rule.Clock, want) {
		t.Errorf("rule.go uses the clock %q, want %q", rule.Clock, want)
	}
	if !plan9.Generated || plan9.Commented || !slices.Equal(plan9.Foreign, []string{"net"}) {
		t.Errorf("x_plan9.go: %+v", plan9)
	}
	if !test.Test || test.Commented {
		t.Errorf("x_test.go: %+v", test)
	}
	got := strings.Join(Check(House(), packages), "\n")
	for _, want := range []string{"imports net:", "calls time.Now in line 10", "calls time.Sleep in line 12"} {
		if !strings.Contains(got, want) {
			t.Errorf("Check of what was loaded lacks %q:\n%s", want, got)
		}
	}
}

func TestLoadRefusesWhatItCannotRead(t *testing.T) {
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a folder without go.mod was taken")
	}
	root := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module m\n", "a.go": "no Go at all"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(root); err == nil {
		t.Error("a file that is not Go was taken")
	}
}
