package rpmostree

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// jsonPath finds what an expression like $.deployments[0].booted or
// $.deployments[*].checksum names. As in the original the answer is always a
// list.
func jsonPath(v any, expr string) ([]any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	rest, ok := strings.CutPrefix(expr, "$")
	if !ok {
		return nil, fmt.Errorf("the JSONPath expression %q does not begin with \"$\"", expr)
	}
	at := []any{doc}
	for rest != "" {
		var key string
		if key, rest, err = nextStep(rest); err != nil {
			return nil, fmt.Errorf("reading the JSONPath expression %q: %w", expr, err)
		}
		var next []any
		for _, x := range at {
			next = append(next, children(x, key)...)
		}
		at = next
	}
	if at == nil {
		at = []any{}
	}
	return at, nil
}

// nextStep takes ".key", "[0]", "[*]" or "['key']" off an expression.
func nextStep(s string) (key, rest string, err error) {
	if s[0] == '.' {
		end := strings.IndexAny(s[1:], ".[")
		if end < 0 {
			end = len(s) - 1
		}
		if key, rest = s[1:1+end], s[1+end:]; key == "" {
			return "", "", fmt.Errorf("a name is missing behind %q", ".")
		}
		return key, rest, nil
	}
	end := strings.IndexByte(s, ']')
	if s[0] != '[' || end < 0 {
		return "", "", fmt.Errorf("%q is neither .NAME nor [INDEX]", s)
	}
	return strings.Trim(s[1:end], `'"`), s[end+1:], nil
}

func children(x any, key string) []any {
	switch x := x.(type) {
	case map[string]any:
		if v, ok := x[key]; ok {
			return []any{v}
		}
	case []any:
		if key == "*" {
			return x
		}
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(x) {
			return []any{x[i]}
		}
	}
	return nil
}
