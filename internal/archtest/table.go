// Package archtest holds the import table of ARCHITECTURE.md as data, and the
// other rules of the house that a machine can check. Its test fails with one
// sentence for each place that breaks one. Nothing imports it.
package archtest

// Rules is everything that Check knows. The packages of the module are named
// by their folder; the leading "internal/" is left out.
type Rules struct {
	// Imports says for each package which packages of ours it may import.
	// "*" stands for all of them. A key that ends in "/*" holds for every
	// package below. A package without a row is itself a violation.
	Imports map[string][]string

	// TestImports may be imported by every test, besides what the package may
	// import and its neighbours below the same folder (a test in voice may
	// use all of voice, but nothing of web).
	TestImports []string

	// TestOnly may be imported by tests and by each other only.
	TestOnly []string

	// Foreign limits packages that are not ours.
	Foreign []Limit

	// NoClock lists the packages that must be given the time.
	NoClock []string

	// MaxLines is the longest a file may be that was written by hand.
	MaxLines int
}

// A Limit says which packages may import a foreign package or anything below it.
type Limit struct {
	Import string
	Except []string // below Import, and free to all
	Only   []string // if set, these may and no other does
	Never  []string // these may not
	Why    string   // ends the sentence of the violation
}

// House gives the rules of this project.
//
// Rows of packages that do not exist yet are the plan's: a package comes into
// the world with its imports agreed on.
func House() Rules {
	// domain is what almost everybody speaks.
	domain := func(more ...string) []string { return append([]string{"e164", "masking"}, more...) }
	var nothing []string
	return Rules{
		Imports: map[string][]string{
			"e164":    nothing,
			"masking": {"e164"},

			"store":           domain(),
			"store/storetest": domain("store"),
			"store/sqlstore":  domain("store"),
			"store/sqlite":    domain("store", "store/sqlstore"),
			"store/postgres":  domain("store", "store/sqlstore"),
			"store/sentry":    domain("store"),
			"transfer":        domain("store"),
			"blob":            nothing,
			"seal":            nothing,
			"backlog":         {"seal"},

			"control":       domain("store", "seal"),
			"web/api":       domain("control", "web/auth", "web/ratelimit", "blob", "ladder"),
			"web/auth":      domain(),
			"web/console":   domain("web/auth"),
			"web/ratelimit": nothing,

			"ladder": {"e164"},

			"quota": nothing,

			"voice/callflow": domain("store", "seal", "quota"),
			"voice/b2bua":    domain("voice/sdp", "voice/g711"),
			"voice/sipua":    domain("voice/b2bua", "voice/siptx", "voice/locate", "voice/sdp", "voice/digest", "ladder", "quota"),
			"voice/siptx":    nothing,
			"voice/locate":   nothing,
			"voice/digest":   nothing,
			"voice/sdp":      {"voice/g711"},
			"voice/g711":     nothing,
			"voice/wav":      {"voice/g711"},
			"voice/relay":    {"voice/g711"},
			"voice/prompt":   {"voice/g711", "voice/wav"},
			"voice/record":   domain("voice/relay", "voice/g711", "voice/wav", "blob"),
			"voice/hep":      {"e164", "ladder"},
			"voice/phone":    domain("ladder", "voice/siptx", "voice/sdp", "voice/g711", "voice/wav"),

			"webhook": domain("store", "blob"),
			"upkeep":  domain("store"),
			"config":  {"blob"},
			"obs":     nothing,
			"client":  {"e164"},

			"app":        {"*"},
			"demo":       domain("app", "config", "voice/phone", "voice/wav", "client"),
			"cli":        domain("app", "config", "obs", "voice/phone", "client", "demo", "transfer"),
			"cmd/tandem": {"cli"},

			"archtest":         nothing,
			"testkit":          domain("voice/phone", "voice/siptx", "voice/sdp"),
			"testkit/ca":       nothing,
			"testkit/contract": {"web/api"},
			"testkit/database": {"store/sqlite", "store/storetest"},
			"testkit/names":    nothing,
			"testkit/postgres": nothing,
			"test/*":           {"*"},
		},
		TestImports: []string{"e164", "masking", "testkit", "testkit/ca", "testkit/contract", "testkit/database", "testkit/names", "testkit/postgres", "voice/phone", "store", "store/storetest", "store/sqlite"},
		TestOnly:    []string{"testkit", "testkit/ca", "testkit/contract", "testkit/database", "testkit/names", "testkit/postgres", "store/storetest", "archtest", "test/*"},
		Foreign: []Limit{
			{Import: "context", Never: []string{"masking"}, Why: "a rule is values in, values out"},
			{Import: "database/sql", Only: []string{"store/*", "test/*"}, Why: "only an engine of the store speaks SQL"},
			{Import: "github.com/jackc/pgx/v5", Only: []string{"store/postgres", "testkit/postgres", "test/*"}, Why: "only its engine knows PostgreSQL"},
			{Import: "modernc.org/sqlite", Only: []string{"store/sqlite", "test/*"}, Why: "only its engine knows SQLite"},
			{Import: "net", Except: []string{"net/netip", "net/url"}, Never: []string{"masking"}, Why: "a rule does no I/O"},
			{Import: "net/http", Never: []string{"control", "voice/callflow", "voice/b2bua"}, Why: "a use case does not know who calls it"},
			{Import: "github.com/emiago/sipgo", Only: []string{"voice/siptx", "voice/sipua", "voice/phone", "test/*"},
				Why: "SIP messages stop at the SIP adapter"},
			{Import: "golang.org/x/crypto/chacha20poly1305", Only: []string{"seal"}, Why: "one package seals"},
			{Import: "github.com/miekg/dns", Only: []string{"voice/locate", "testkit/names", "test/*"},
				Why: "what DNS says is servers and times to everybody else"},
			{Import: "github.com/danielgtaylor/huma/v2", Only: []string{"web/api", "test/*"},
				Why: "its NewError is one for the process, so one package touches it"},
		},
		NoClock:  []string{"masking"},
		MaxLines: 700,
	}
}
