package masking

import (
	"testing"

	"tandem/internal/e164"
)

func TestANumberIsErasedFromTheTextsOfJSONAlone(t *testing.T) {
	n := e164.MustParse("+919900000001")
	for in, want := range map[string]string{
		`{"from":"+919900000001","to":"+918800000002","n":919900000001,"list":["+919900000001",7,null],"x":"call +919900000001 <b>&"}` + "\n": `{"from":"erased","list":["erased",7,null],"n":919900000001,"to":"+918800000002","x":"call erased <b>&"}` + "\n",
		`["\u002b919900000001"]`:     `["erased"]`,
		`{"from":"+9199000000012"}`:  `{"from":"+9199000000012"}`,
		`{"a": 1.50, "b": "nobody"}`: `{"a": 1.50, "b": "nobody"}`,
		`+919900000001 is no JSON`:   `+919900000001 is no JSON`,
		"":                           "",
	} {
		if got := string(EraseFromJSON([]byte(in), n)); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}

func TestThePartsOfAnErasureComeToAnEnd(t *testing.T) {
	n := 0
	for p := EraseAllocations; p != ""; p = p.Next() {
		if n++; n > 10 {
			t.Fatal("they never end")
		}
	}
	if n != 5 {
		t.Errorf("%d parts", n)
	}
}
