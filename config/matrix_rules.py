"""Selects the images that a matrix stack builds, in order, and explains settings that select none.

Knows nothing of resources.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from config.builds import build_problems
from config.matrix import KEY, MatrixSettings
from config.problems import Problem, Remove, Set, SettingsError, Together, did_you_mean
from images.base.recipe import PLATFORMS
from images.catalog import CATALOG
from images.family import FAMILY, PHASES, SERVICES, BuildTarget
from images.variants import DEFAULT_VARIANT, VARIANTS, ImpossiblePair, Variant, resolve


def select(settings: MatrixSettings) -> tuple[BuildTarget, ...]:
    """The images that the settings select, parents before what is built on them.

    Level by level through all variants, so that there is always something to build beside the image that the next ones
    stand on.
    """
    chosen = [
        BuildTarget(image=CATALOG[target], variant=variant, platform=platform)
        for variant in _chosen_variants(settings)
        for platform in dict.fromkeys(settings.platforms)
        for target in _targets(settings)
        if platform in variant.platforms
    ]
    chosen += _services(settings)
    chosen = list(_with_parents([wanted for wanted in chosen if not _matches(wanted.name, settings.without)]))
    chosen.sort(key=lambda wanted: len(list(wanted.ancestors)))
    return tuple(chosen)


def check(settings: MatrixSettings, stack_file: str) -> None:
    """Passes if the settings select images, and every part of them counts.

    Raises:
        SettingsError: with everything that selects nothing, and what there is instead.
    """
    if problems := [problem for find in CHECKS for problem in find(settings)]:
        raise SettingsError(problems, stack_file, KEY)


def lists_have_entries(settings: MatrixSettings) -> Iterator[Problem]:
    """No key selects nothing at all."""
    for key in ("cuda", "python", "targets", "phases", "platforms"):
        if not getattr(settings, key) and not (key == "targets" and settings.services):
            yield Problem(
                (key,), "is empty, so it selects nothing", "Leave it out to get its default:", (Remove((key,)),)
            )


def patterns_match_something(settings: MatrixSettings) -> Iterator[Problem]:
    """No pattern is a slip of the keyboard."""
    known = {
        "cuda": [variant.cuda for variant in VARIANTS],
        "python": [variant.python for variant in VARIANTS],
        "targets": list(FAMILY),
        "services": list(SERVICES),
        "without": [wanted.name for wanted in select(EVERYTHING)],
    }
    for key, names in known.items():
        patterns = getattr(settings, key)
        for index, pattern in enumerate(patterns):
            if not any(fnmatchcase(name, pattern) for name in names):
                there = did_you_mean(pattern, dict.fromkeys(names))
                # The last entry goes with its key: an empty list selects nothing either.
                place = (key, index) if len(patterns) > 1 else (key,)
                yield Problem(
                    (key, index), f"{pattern!r} {MISSES.get(key, 'selects')} nothing", there, (Remove(place),)
                )


def a_pair_is_selected(settings: MatrixSettings) -> Iterator[Problem]:
    """The versions of CUDA and of Python that are selected belong together."""
    cudas = [v.cuda for v in VARIANTS if _matches(v.cuda, settings.cuda)]
    pythons = [v.python for v in VARIANTS if _matches(v.python, settings.python)]
    if not (cudas and pythons) or _variants(settings):
        return
    try:
        resolve(cudas[0], pythons[0])
    except ImpossiblePair as pair:
        nearest = pair.nearest[0]
        commands = Together((Set(("cuda",), [nearest.cuda]), Set(("python",), [nearest.python])))
        yield Problem((pair.axis,), str(pair), pair.advice, (commands,))


def a_target_is_selected(settings: MatrixSettings) -> Iterator[Problem]:
    """The targets and the phases that are selected belong together."""
    named = [target for target in FAMILY if _matches(target, settings.targets)]
    if named and settings.phases and not _targets(settings):
        phases = sorted(phase for phase, targets in PHASES.items() if set(named) & set(targets))
        yield Problem(
            ("phases",),
            f"{', '.join(named)} {'is' if len(named) == 1 else 'are'} in none of the phases that are selected",
            "Select the phase that has it, or all of them:",
            (Set(("phases",), phases), Remove(("phases",))),
        )


def services_have_their_libraries(settings: MatrixSettings) -> Iterator[Problem]:
    """An image of a service that is named finds the CUDA that it needs among what is selected."""
    found = {wanted.image.name for wanted in _services(settings)}
    for index, pattern in enumerate(settings.services):
        names = [name for name in SERVICES if fnmatchcase(name, pattern)]
        if not names or found & set(names):
            continue
        image = CATALOG[names[0]]
        able = [variant for variant in VARIANTS if image.fits(variant)]
        cudas = list(dict.fromkeys(variant.cuda for variant in able))
        platforms = list(dict.fromkeys(platform for variant in able for platform in variant.platforms))
        yield Problem(
            ("services", index),
            f"{image.name} calls libraries of CUDA {image.cuda}, which no image has that is selected",
            f"It is built on CUDA {' and '.join(cudas)}, for {' and '.join(platforms)}. Select that, or leave it out:",
            (
                Together((Set(("cuda",), cudas), Set(("platforms",), platforms), Set(("minimal",), value=False))),
                Remove(("services", index) if len(settings.services) > 1 else ("services",)),
            ),
        )


def platforms_have_torch(settings: MatrixSettings) -> Iterator[Problem]:
    """Some variant that is selected can be built for each platform."""
    variants = _variants(settings) if settings.targets else []
    for index, platform in enumerate(settings.platforms):
        if variants and not any(platform in variant.platforms for variant in variants):
            able = [v.cuda for v in VARIANTS if platform in v.platforms]
            without = f"CUDA {', '.join(dict.fromkeys(v.cuda for v in variants))}"
            yield Problem(
                ("platforms", index),
                f"torch for {without} is not built with CUDA for {platform}",
                f"For {platform} there is CUDA {', '.join(dict.fromkeys(able))}.",
                (Remove(("platforms", index)),),
            )


def something_is_left(settings: MatrixSettings) -> Iterator[Problem]:
    """The exclusions do not cover everything."""
    everything = settings.model_copy(update={"without": ()})
    if not select(settings) and select(everything):
        names = ", ".join(wanted.name for wanted in select(everything))
        yield Problem(("without",), "leaves out every image", f"Selected are: {names}.", (Remove(("without",)),))


def builds_can_be_made(settings: MatrixSettings) -> Iterator[Problem]:
    """See `build_settings.build_problems`."""
    yield from build_problems(settings, ())


def pushes_go_somewhere(settings: MatrixSettings) -> Iterator[Problem]:
    """An image that is pushed is named after the registry that takes it."""
    if settings.push and settings.registry is None:
        yield Problem(
            ("push",),
            "is true, but no registry is named that takes the images",
            "Name one, or keep the images here:",
            (Set(("registry",), "registry.example.org:5000/cslr"), Set(("push",), value=False)),
        )


def signed_images_are_built_here(settings: MatrixSettings) -> Iterator[Problem]:
    """A signature says that images come from these sources, not from layers that others left in a registry."""
    if settings.signing_key and settings.cache_from:
        yield Problem(
            ("cache_from",),
            "gives builds layers of images whose signatures nobody checks, and signing_key would sign what they become",
            "Build without that cache, or do not sign:",
            (Remove(("cache_from",)), Remove(("signing_key",))),
        )


# Every image of every platform.
EVERYTHING = MatrixSettings(services=("*",), platforms=PLATFORMS)
MISSES = {"without": "leaves out"}  # what a pattern that matches nothing does not do; all others select

CHECKS = (
    lists_have_entries,
    patterns_match_something,
    a_pair_is_selected,
    a_target_is_selected,
    services_have_their_libraries,
    platforms_have_torch,
    something_is_left,
    builds_can_be_made,
    pushes_go_somewhere,
    signed_images_are_built_here,
)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _variants(settings: MatrixSettings) -> list[Variant]:
    return [v for v in VARIANTS if _matches(v.cuda, settings.cuda) and _matches(v.python, settings.python)]


def _chosen_variants(settings: MatrixSettings) -> list[Variant]:
    """Those of them that are built."""
    variants = _variants(settings)
    return [variant for variant in variants if not settings.minimal or variant == _preferred(variants)]


def _preferred(variants: Sequence[Variant]) -> Variant | None:
    """The one to build where one is enough."""
    return DEFAULT_VARIANT if DEFAULT_VARIANT in variants else next(iter(variants), None)


def _targets(settings: MatrixSettings) -> list[str]:
    phased = {target for phase in settings.phases for target in PHASES[phase]}
    return [target for target in FAMILY if target in phased and _matches(target, settings.targets)]


def _services(settings: MatrixSettings) -> Iterator[BuildTarget]:
    for image in (CATALOG[name] for name in SERVICES if _matches(name, settings.services)):
        fitting = [variant for variant in _chosen_variants(settings) if image.fits(variant)]
        for variant in fitting if image.depends_on_variant else [DEFAULT_VARIANT]:
            for platform in dict.fromkeys(settings.platforms):
                wanted = BuildTarget(image=image, variant=variant, platform=platform)
                if platform in wanted.platforms:
                    yield wanted


def _with_parents(chosen: Sequence[BuildTarget]) -> Iterator[BuildTarget]:
    """The images, and those that they begin with."""
    names = {wanted.name for wanted in chosen}
    for wanted in chosen:
        parent = next(wanted.ancestors, None)
        if parent and wanted.image.begins_with_parent and parent.name not in names:
            names.add(parent.name)
            yield parent
        yield wanted
