"""Random verdicts for the property tests: `st.from_type(Verdict)` draws any that can arise."""

from hypothesis import strategies as st

from server.concepts.recognition import Recognition
from server.concepts.taxonomy import load_taxonomy
from server.concepts.verdict import Reading, Verdict, verdict_of

PROBABILITIES = st.floats(0.0, 1.0)


def recognitions() -> st.SearchStrategy[Recognition]:
    taxonomy = load_taxonomy()
    some_concepts = st.lists(st.sampled_from(taxonomy.concept_names), unique=True, max_size=6)
    return st.builds(
        Recognition,
        categories=st.fixed_dictionaries(dict.fromkeys(taxonomy.category_names, PROBABILITIES)),
        no_category=PROBABILITIES,
        concepts=some_concepts.flatmap(
            lambda names: st.fixed_dictionaries(dict.fromkeys(names, PROBABILITIES))
        ),
        no_concept=PROBABILITIES,
    )


def readings() -> st.SearchStrategy[Reading]:
    return st.builds(
        lambda mass, share: Reading(unsafe_mass=mass * share, safe_mass=mass * (1.0 - share)),
        PROBABILITIES,
        PROBABILITIES,
    )


st.register_type_strategy(Recognition, recognitions())
st.register_type_strategy(Reading, readings())
st.register_type_strategy(
    Verdict,
    st.builds(
        lambda answers, seen: verdict_of(answers, seen, min_answer_mass=0.05),
        st.lists(readings(), min_size=1, max_size=3),
        st.none() | recognitions(),
    ),
)
