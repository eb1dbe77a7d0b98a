package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// bodies are all types that decode is given.
var bodies = []any{CreateBody{}, PartiesBody{}, NumberBody{}, PatchBody{}, NewTenantBody{}, TenantBody{}, TokenBody{},
	AddNumbersBody{}, ChangeNumberBody{}, NewTrunkBody{}, TrunkBody{},
	NewPinBody{}, PinUpdateBody{}, PinItemBody{}, UnlockBody{}, SettingsBody{}, HoldBody{}}

func TestEveryBodyTypeCanBeRead(t *testing.T) {
	var walk func(t *testing.T, at string, typ reflect.Type)
	walk = func(t *testing.T, at string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.String, reflect.Bool, reflect.Int64:
		case reflect.Pointer, reflect.Slice:
			walk(t, at, typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				if !f.IsExported() || (!f.Anonymous && f.Tag.Get("json") == "") {
					t.Errorf("%s.%s has no name in JSON", at, f.Name)
				}
				walk(t, at+"."+f.Name, f.Type)
			}
		default:
			t.Errorf("%s is a %s, which decode cannot read", at, typ)
		}
	}
	for _, b := range bodies {
		walk(t, reflect.TypeOf(b).Name(), reflect.TypeOf(b))
	}
}

// What decode takes, the standard library reads to the same value: it is
// stricter and never different.
func FuzzDecodeAgreesWithTheStandardLibrary(f *testing.F) {
	for _, seed := range []string{`{"caller_id_number":"+1","from":["a"],"to":[]}`, `{"caller_id_number":"\u00e9\ud83d\ude00","from":[],"to":["\n"],"duration":-5,"record":false,"preferences":{"region":"x"}}`,
		`{"name":"n","sources":["a"],"weight":1}`, `{"numbers":[{"number":"1","sharing":"x"},{"number":"2"}]}`, `{"caller_id_number":"a","caller_id_number":"b"}`, "{\"x\":\"\xc3\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, b := range bodies {
			mine, theirs := reflect.New(reflect.TypeOf(b)), reflect.New(reflect.TypeOf(b))
			if decode(body, mine.Interface()) != nil {
				continue
			}
			// The standard library matches names in any case; give it only
			// what matches exactly.
			var all map[string]json.RawMessage
			if err := json.Unmarshal(body, &all); err != nil {
				t.Fatalf("decode took %q, the library does not: %v", body, err)
			}
			exact := map[string]json.RawMessage{}
			names(reflect.TypeOf(b), func(name string) {
				if v, ok := all[name]; ok {
					exact[name] = v
				}
			})
			again, err := json.Marshal(exact)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(again, theirs.Interface()); err != nil {
				t.Fatalf("decode took %q, the library does not: %v", again, err)
			}
			if !nested(b) && !reflect.DeepEqual(mine.Interface(), theirs.Interface()) {
				t.Fatalf("%q: %+v, the library reads %+v", body, mine, theirs)
			}
		}
	})
}

// nested tells whether a body has objects inside, where the library would
// match names in any case again.
func nested(b any) bool {
	found := false
	t := reflect.TypeOf(b)
	for i := range t.NumField() {
		ft := t.Field(i).Type
		for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		found = found || (ft.Kind() == reflect.Struct && !t.Field(i).Anonymous)
	}
	return found
}

func names(t reflect.Type, visit func(string)) {
	for i := range t.NumField() {
		if t.Field(i).Anonymous {
			names(t.Field(i).Type, visit)
			continue
		}
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		visit(name)
	}
}

func TestHalvesOfSurrogatePairsAreFound(t *testing.T) {
	for raw, want := range map[string]bool{
		`"a"`: false, `"\ud83d\ude00"`: false, `"\\ud83d"`: false, `"\\\ud83d"`: true, `"\ud83d"`: true, `"\ude00"`: true, `"\ud83dx\ude00"`: true,
		`"\ud83d\ud83d\ude00"`: true, `"\ud83d\n"`: true, `"\uD83D\uDE00\uD83D"`: true, `"\u00e9\ud83d\ude00\u00e9"`: false, `"\ud83d\u00e9"`: true,
	} {
		if halfPair([]byte(raw)) != want {
			t.Errorf("halfPair(%s) = %v", raw, !want)
		}
	}
}
