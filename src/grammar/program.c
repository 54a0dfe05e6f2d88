#include "grammar/program.h"

void grammar_node_free(grammar_node *node) {
    switch (node->kind) {
    case GRAMMAR_OBJECT:
        for (int i = 0; i < node->u.object.n; i++)
            base_free(node->u.object.properties[i].key);
        base_free(node->u.object.properties);
        break;
    case GRAMMAR_ARRAY:
        base_free(node->u.array.prefix);
        break;
    case GRAMMAR_UNION:
        base_free(node->u.any.at);
        break;
    case GRAMMAR_SCALAR:
    case GRAMMAR_STRING:
        break;
    }
}

void grammar_program_free(grammar_program *p) {
    if (p == NULL)
        return;
    for (int i = 0; i < p->n_nodes; i++)
        grammar_node_free(&p->nodes[i]);
    for (int i = 0; i < p->n_dfas; i++)
        grammar_dfa_free(p->dfas[i]);
    base_free(p->nodes);
    base_free(p->dfas);
    base_free(p);
}

grammar_program *grammar_program_scalar(grammar_dfa *dfa) {
    grammar_program *p = base_calloc(1, sizeof *p);
    p->nodes = base_calloc(1, sizeof *p->nodes);
    p->dfas = base_alloc(sizeof *p->dfas);
    p->n_nodes = p->cap_nodes = p->n_dfas = p->cap_dfas = 1;
    p->dfas[0] = dfa;
    p->nodes[0].kind = GRAMMAR_SCALAR;
    p->nodes[0].u.dfa = dfa;
    p->nodes[0].min_bytes = dfa->n_states > 0 ? dfa->distance[0] : 0;
    return p;
}
